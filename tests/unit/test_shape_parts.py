"""Differences of descriptions, names of strangers, groups of shapes, corrections of a history."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tenancy.migrate.files.directives import Directives
from tenancy.migrate.files.model import Migration, Stage, Written, target
from tenancy.migrate.files.parts import Part
from tenancy.migrate.files.reading import Reading
from tenancy.migrate.files.source import Source
from tenancy.migrate.ledger.records import Baseline, History
from tenancy.migrate.plan.chain import difference
from tenancy.migrate.shape.description import Object
from tenancy.migrate.shape.differences import Difference, differences, shortened
from tenancy.migrate.shape.strangers import OTHER, masked, naming
from tenancy.migrate.upkeep.mending import Wanted, mended
from tenancy.migrate.upkeep.verdicts import Shape, references

# Differences

names = st.sampled_from(["notes", "tags", "authors"])
text = st.builds("{} {}".format, st.text("ab \n'", max_size=5), st.sampled_from(["", "long " * 99]))
texts = st.dictionaries(st.sampled_from(["type", "default", "body"]), text, max_size=2)
objects = st.one_of(
    st.builds(Object, st.sampled_from(["table", "view", "function()"]), names, st.none(), texts),
    st.builds(
        lambda kind, table, name, aspects: Object(kind, f"{table}.{name}", table, aspects),
        st.sampled_from(["trigger", "constraint"]),
        *(names, names, texts),
    ),
)


def _unique(found: list[Object]) -> list[Object]:
    return list({one.key: one for one in found}.values())


schemas = st.lists(objects, max_size=6).map(_unique)


@given(schemas, schemas)
def test_there_are_differences_exactly_if_something_differs(
    here: list[Object], there: list[Object]
) -> None:
    found = differences(here, there)
    assert bool(found) is (sorted(here, key=_key) != sorted(there, key=_key))


@given(schemas, schemas)
def test_the_other_way_round_the_same_things_differ(
    here: list[Object], there: list[Object]
) -> None:
    turned = [replace(one, here=one.there, there=one.here) for one in differences(there, here)]
    assert sorted(map(repr, turned)) == sorted(map(repr, differences(here, there)))


@given(schemas, schemas)
def test_a_difference_is_one_short_line(here: list[Object], there: list[Object]) -> None:
    for one in differences(here, there):
        assert "\n" not in str(one)
        assert len(str(one)) < 400
        assert str(shortened(one)).startswith(f"{one.kind} {one.name}")


@given(st.permutations(["a", "b", "c", "d"]), st.sets(st.sampled_from("abcd")))
def test_the_order_of_columns_is_one_difference_and_gaps_are_none(
    order: list[str], gone: set[str]
) -> None:
    there = _columns(["a", "b", "c", "d"])
    here = _columns([name for name in order if name not in gone])
    found = [one for one in differences(here, there) if one.aspect]
    left = [name for name in order if name not in gone]
    assert len(found) == (left != sorted(left))
    assert all(one.aspect == "columns" for one in found)


def _columns(found: list[str]) -> list[Object]:
    return [
        Object("column", f"notes.{name}", "notes", {"position": str(at), "type": "text"})
        for at, name in enumerate(found, start=1)
    ]


def test_what_goes_with_a_missing_table_is_not_told_besides() -> None:
    table = Object("table", "notes", None, {})
    parts = [
        *_columns(["a"]),
        Object("index", "notes_pkey", "notes", {}),
        Object("constraint", "notes.notes_pkey", "notes", {}),
    ]
    assert [str(one) for one in differences([], [table, *parts])] == ["table notes: missing here"]
    assert [str(one) for one in differences([table, *parts[:1]], [table, *parts])] == [
        "constraint notes.notes_pkey: missing here"
    ]


def test_a_long_text_is_told_where_it_begins_to_differ() -> None:
    line = "word " * 100
    told = str(Difference("view", "v", "query", f"{line} A", f"{line} B"))
    assert "A, there ..." in told
    assert told.endswith("B")
    assert "line 2 y, there z" in str(Difference("function", "f()", "body", "x\ny", "x\nz"))


def _key(one: Object) -> tuple[str, str, str]:
    return one.key


# Strangers

schema_names = st.from_regex(r"\At_[a-z0-9_]{1,8}\Z")


@given(st.sets(schema_names, min_size=1), st.sampled_from(["", " ", "x.", "'", '"', "("]))
def test_a_strangers_schema_is_found_and_is_not_printed(schemas: set[str], around: str) -> None:
    one = min(schemas)
    text = f"SELECT 1 FROM {around}{one}.notes"
    assert list(naming([Object("view", "v", None, {"query": text})], schemas))
    assert one not in masked(text, schemas).replace(OTHER, "")


@given(st.sets(schema_names))
def test_nothing_else_is_taken_for_a_schema(schemas: set[str]) -> None:
    text = "SELECT at_acme, t_acmes2_, T_ACME FROM acme.t"
    found = [Object("view", "v", None, {"query": text})]
    assert not list(naming(found, schemas - {"t_acmes2_"}))
    own = [Object("table", "t_acmes2_", None, {}), *found]
    assert not list(naming(own, {"t_acmes2_"}))


# Groups


@given(st.lists(st.builds(Shape, st.sampled_from("xy"), st.sampled_from("abc"))))
def test_the_reference_is_what_most_have_whatever_their_order(shapes: list[Shape]) -> None:
    found = references(shapes)
    assert found == references(reversed(shapes))
    assert found.keys() == {shape.digest for shape in shapes}
    for shape in shapes:
        assert shapes.count(Shape(shape.digest, found[shape.digest])) >= shapes.count(shape)


# Corrections

part = Part(Source("tenant/1_a.sql", ""), Directives())
versions = st.sets(st.from_regex(r"\A[0-9]{2}\Z"), max_size=6).map(sorted)
checksums = st.sampled_from(["a", "b"])


def _chain(found: dict[str, str]) -> tuple[Migration, ...]:
    chain: list[Migration] = []
    for version in sorted(found):
        source = Source(f"tenant/{version}_a.sql", "")
        written = Written(source, None, free=False, path=None, reading=Reading)
        previous = chain[-1].digest if chain else ""
        one = Migration(Stage.TENANT, version, "a", found[version], previous, written)
        chain.append(one.going(part))
    return tuple(chain)


files = versions.flatmap(lambda found: st.fixed_dictionaries(dict.fromkeys(found, checksums)))
wishes = st.builds(
    Wanted,
    st.booleans(),
    st.booleans(),
    st.frozensets(st.from_regex(r"\A[0-9]{2}\Z"), max_size=2),
)


@given(files, files, wishes, st.booleans())
def test_what_is_mended_contradicts_the_files_no_more(
    now: dict[str, str], then: dict[str, str], wanted: Wanted, damaged: bool
) -> None:
    migrations, history = _chain(now), History(then)
    digest = "damaged" if damaged else history.digest
    mend = mended(migrations, digest, history, wanted)
    if mend.refusal:
        return
    assert not damaged or mend.needed is wanted.checkpoints
    if mend.needed:
        assert not difference(migrations, mend.after.digest, mend.after).verdict.refused
        again = mended(migrations, mend.after.digest, mend.after, wanted)
        assert not again.needed
        assert list(mend.words())


@given(files)
def test_changed_files_are_accepted_by_rows_and_by_baseline(found: dict[str, str]) -> None:
    migrations = _chain(found)
    if not migrations:
        return
    wanted = Wanted(checksums=True)
    rows = History(dict.fromkeys(found, "old"))
    assert mended(migrations, rows.digest, rows, wanted).after.digest == target(migrations)
    base = History({}, Baseline(migrations[-1].version, "old"))
    assert mended(migrations, base.digest, base, wanted).after.digest == target(migrations)


@given(files)
def test_nothing_is_asked_of_a_history_that_is_right(found: dict[str, str]) -> None:
    history = History(found)
    mend = mended(_chain(found), history.digest, history, Wanted(checksums=True, checkpoints=True))
    assert not mend.needed
    assert not mend.refusal
