"""The pure parts of a run: amounts, waves, phases, the rule for failures, options."""

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.migrate.files import folder
from tenancy.migrate.files.directives import Directives
from tenancy.migrate.files.model import Files, Migration, Stage, Written
from tenancy.migrate.files.parts import Part
from tenancy.migrate.files.reading import Reading
from tenancy.migrate.files.source import Source
from tenancy.migrate.fleet import outline, phases, waves
from tenancy.migrate.fleet.amounts import Amount
from tenancy.migrate.fleet.options import InvalidOptionsError, Options
from tenancy.migrate.fleet.policy import ALIKE, StopRule
from tenancy.migrate.ledger.records import Failure, Standing
from tenancy.migrate.plan.chain import Position, Verdict
from tenancy.migrate.plan.steps import Step
from tenancy.migrate.report.outcomes import Outcome, Result

totals = st.integers(0, 10_000)
shares = st.decimals(0, 100, places=2).map(lambda share: f"{share}%")
amounts = st.one_of(st.integers(0, 20_000).map(str), shares)

# Amounts


@given(amounts, totals)
def test_an_amount_is_never_more_than_all_and_rounds_both_ways(written: str, total: int) -> None:
    amount = Amount.parse(written)
    down, up = amount.rounded_down(total), amount.rounded_up(total)
    assert 0 <= down <= up <= min(total, down + 1)


@given(st.integers(1, 100), st.integers(1, 10_000))
def test_a_share_of_some_is_at_least_one(share: int, total: int) -> None:
    assert Amount.parse(f"{share}%").rounded_up(total) >= 1


@pytest.mark.parametrize("written", ["", "x", "-1", "1.5", "101%", "5 %x", "%", "1e3", "٣"])
def test_what_is_no_amount_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="write"):
        Amount.parse(written)


def test_a_share_may_be_broken() -> None:
    assert Amount.parse("0.5%") == Amount(Fraction(1, 2), percent=True)


# Waves


def _step(number: int, digest: str = "", *, failed: bool = False) -> Step:
    failure = Failure("1", "tenant/1_a.sql", "no") if failed else None
    standing = Standing(
        Stage.TENANT, f"t_{number}", number + 1, f"s{number}", None, digest, failure=failure
    )
    return Step(standing, Position(Verdict.BEHIND))


fleets = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60).map(
    lambda drawn: [_step(n, digest, failed=failed) for n, (digest, failed) in enumerate(drawn)]
)


@given(fleets, st.none() | amounts, st.none() | amounts)
def test_every_schema_is_in_one_wave_and_the_order_is_kept(
    steps: list[Step], canary: str | None, size: str | None
) -> None:
    cut = waves.cut(steps, canary, Amount.parse(size) if size else None)
    every = [step.standing.name for wave in cut for step in wave.steps]
    assert sorted(every) == sorted(step.standing.name for step in steps)
    assert [wave.number for wave in cut] == sorted({wave.number for wave in cut})
    assert all(wave.steps for wave in cut)
    later = [step for wave in cut if not wave.canary for step in wave.steps]
    assert later == [step for step in steps if step in later]


@given(fleets, st.integers(1, 100))
def test_no_wave_is_larger_than_asked(steps: list[Step], size: int) -> None:
    cut = waves.cut(steps, "0", Amount.parse(size))
    assert all(len(wave.steps) == size for wave in cut[:-1])
    assert not any(wave.canary for wave in cut)


def test_without_an_option_one_of_many_is_the_canary_and_none_of_a_few() -> None:
    few, many = ([_step(n) for n in range(count)] for count in (20, 21))
    assert [len(wave.steps) for wave in waves.cut(few, None, None)] == [20]
    assert [len(wave.steps) for wave in waves.cut(many, None, None)] == [1, 20]


def test_the_canary_stands_where_most_stand_and_has_not_failed() -> None:
    steps = [_step(0, "odd"), _step(1, "most", failed=True), _step(2, "most"), _step(3, "most")]
    assert waves.cut(steps, "1", None)[0].steps == (steps[2],)


def test_a_canary_can_be_named() -> None:
    steps = [_step(n) for n in range(5)]
    first, rest = waves.cut(steps, "s3, s1", None)
    assert (first.steps, first.canary) == ((steps[1], steps[3]), True)
    assert rest.steps == (steps[0], steps[2], steps[4])


# Phases


def _file(number: int, *, transactional: bool = True) -> Migration:
    version = f"{number:04}"
    source = Source(f"tenant/{version}_a.sql", "SELECT 1")
    written = Written(source, None, free=False, path=None, reading=Reading)
    part = Part(source, Directives(transactional=transactional))
    return Migration(Stage.TENANT, version, "a", "", "", written, part)


chains = st.lists(st.booleans(), min_size=1, max_size=12).map(
    lambda kinds: tuple(_file(n, transactional=kind) for n, kind in enumerate(kinds, 1))
)


def test_many_phases_are_few_words_and_whole_for_programs() -> None:
    chain = [_file(number, transactional=number % 2 > 0) for number in range(1, 10)]
    made = outline.Outline(0, (3,), phases.split([chain]))
    (line,) = outline.lines(made, Options())
    assert line.endswith("; 0005, 4 schemas at a time; and 4 more")
    parts = outline.as_json(made, Options())["parts"]
    assert isinstance(parts, list)
    assert len(parts) == 9


@given(chains, st.data())
def test_phases_are_all_pending_files_in_order_and_change_kind_each_time(
    chain: tuple[Migration, ...], data: st.DataObject
) -> None:
    starts = data.draw(st.lists(st.integers(0, len(chain) - 1), min_size=1))
    pending = [chain[start:] for start in starts]
    found = phases.split(pending)
    every = [version for phase in found for version in phase.versions]
    assert every == [one.version for one in chain[min(starts) :]]
    kinds = [phase.transactional for phase in found]
    assert all(a != b for a, b in pairwise(kinds))
    of = {one.version: one.directives.transactional for one in chain}
    assert all(of[version] == phase.transactional for phase in found for version in phase.versions)
    for files in pending:  # nobody is left out of the phase in which his own files are
        concerned = [phase for phase in found if phase.concerns(files)]
        assert {one.version for one in files} <= {v for p in concerned for v in p.versions}


# The rule for failures


def _result(outcome: Outcome, version: str = "1", sqlstate: str | None = "42P07") -> Result:
    faulty = outcome in {Outcome.FAILED, Outcome.NEEDS_DECISION}
    failure = Failure(version, "tenant/1_a.sql:1:1", "no", sqlstate) if faulty else None
    applied = ("1",) if outcome is Outcome.APPLIED else ()
    return Result(Stage.TENANT, "t_a", "a", outcome, applied, failure)


FINE = st.sampled_from([Outcome.APPLIED, Outcome.AHEAD, Outcome.GONE, Outcome.REFUSED])


@given(st.lists(FINE), st.integers(0, 5))
def test_nothing_stops_a_run_in_which_nothing_fails(outcomes: list[Outcome], limit: int) -> None:
    rule = StopRule(Amount.parse(limit), 10)
    assert not any(rule.seen(_result(outcome), canary=True) for outcome in outcomes)


@given(st.integers(0, 30), st.integers(1, 40))
def test_one_more_than_allowed_stops_the_run_and_not_one_fewer(limit: int, total: int) -> None:
    rule = StopRule(Amount.parse(limit), total, alike=0)
    said = [rule.seen(_result(Outcome.FAILED)) for _ in range(total)]
    assert [bool(words) for words in said] == [n > limit for n in range(1, total + 1)]


def test_a_share_is_of_all_schemas_of_the_run() -> None:
    rule = StopRule(Amount.parse("10%"), 20, alike=0)
    assert [bool(rule.seen(_result(Outcome.FAILED))) for _ in range(3)] == [False, False, True]


@given(st.lists(st.tuples(st.sampled_from("12"), st.sampled_from(["42P07", None])), max_size=30))
def test_so_many_alike_in_a_row_stop_the_run(failures: list[tuple[str, str | None]]) -> None:
    rule = StopRule(None, 100)
    row = 0
    for at, failure in enumerate(failures):
        row = row + 1 if at and failures[at - 1] == failure else 1
        assert bool(rule.seen(_result(Outcome.FAILED, *failure))) == (row >= ALIKE)


def test_a_success_in_between_and_a_failure_that_is_known_are_no_row() -> None:
    rule = StopRule(None, 100)
    for _ in range(4):
        assert not rule.seen(_result(Outcome.FAILED))
        assert not rule.seen(_result(Outcome.FAILED))
        assert not rule.seen(_result(Outcome.APPLIED))
    assert not any(rule.seen(_result(Outcome.FAILED), again=True) for _ in range(9))


def test_all_may_fail_where_that_is_allowed() -> None:
    rule = StopRule(Amount.parse("100%"), 9)
    assert not any(rule.seen(_result(Outcome.FAILED)) for _ in range(9))


def test_the_canary_may_not_fail_and_doubt_stops_nothing_else() -> None:
    rule = StopRule(None, 100)
    assert rule.seen(_result(Outcome.FAILED), canary=True) == "the canary failed"
    assert rule.seen(_result(Outcome.NEEDS_DECISION), canary=True) == "the canary failed"
    assert not any(rule.seen(_result(Outcome.NEEDS_DECISION)) for _ in range(9))


# Options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"parallel": 0}, "parallel: 0 is not in the range"),
        ({"parallel_concurrent": 65}, "parallel_concurrent: 65 is not"),
        ({"canary": ""}, "names nobody"),
        ({"canary": "7.5"}, "canary: '7.5' is neither"),
        ({"wave_size": "0"}, "wave_size: 0 is no size"),
        ({"max_failures": "a"}, "max_failures: 'a' is neither"),
        ({"soak_seconds": -1}, "soak_seconds: -1 is no time"),
        ({"grace_seconds": float("nan")}, "grace_seconds: nan is no time"),
        (
            {"states": ["gone"]},
            "states: gone is no state of a tenant: they are provisioning, active",
        ),
        ({"tenants": "acme"}, "tenants: 'acme' is one string"),
        ({"strict_shape": True, "fingerprints": False}, "strict_shape and fingerprints: "),
        ({"tenants": ["acme"], "exclude": ["acme"]}, "tenants and exclude: acme is both"),
    ],
)
def test_an_option_that_cannot_be_followed_is_refused_where_it_is_given(
    options: dict[str, object], words: str
) -> None:
    with pytest.raises(InvalidOptionsError, match=words):
        Options(**options)  # type: ignore[arg-type]


def test_shapes_are_compared_of_one_in_a_hundred_unless_told_otherwise() -> None:
    assert Options().shapes_one_in == 100
    assert Options(fingerprints=True).shapes_one_in == 1
    assert Options(fingerprints=False).shapes_one_in == 0
    assert Options(strict_shape=True).shapes_one_in == 1


def test_options_may_be_given_as_numbers_and_lists() -> None:
    options = Options(canary=2, wave_size=10, max_failures=0, tenants=["a", "a"])  # type: ignore[arg-type]
    assert (options.canary, options.wave_size, options.max_failures) == ("2", "10", "0")
    assert options.tenants == ("a",)
    assert Options(canary=["a", "b"]).canary == "a,b"  # type: ignore[arg-type]


@given(
    st.builds(
        Options,
        parallel=st.integers(1, 64),
        canary=st.none() | amounts | st.just("acme,globex"),
        max_failures=st.none() | amounts,
        soak_seconds=st.floats(0, 1e6),
        exclude=st.lists(st.sampled_from(["a", "b"]), unique=True).map(tuple),
        behind=st.none() | st.just("0007"),
        where=st.dictionaries(st.sampled_from(["plan", "region"]), st.text(max_size=5)),
    )
)
def test_options_come_back_from_the_ledger_as_they_were(options: Options) -> None:
    assert Options.from_json(json.loads(json.dumps(options.to_json()))) == options


def test_only_what_was_asked_for_is_stored() -> None:
    assert Options().to_json() == {}
    assert Options(parallel=8, tenants=("a",)).to_json() == {
        "parallel": 8,
        "select": {"tenants": ("a",)},
    }


def test_options_of_a_newer_build_are_not_guessed_at() -> None:
    with pytest.raises(InvalidOptionsError, match="newer build, with colour"):
        Options.from_json({"colour": "red"})


def test_versions_are_written_as_the_files_write_them(tmp_path: Path) -> None:
    (tmp_path / "0007_a.sql").write_text("SELECT 1")
    files = folder.load(tmp_path, Stage.TENANT)
    options = Options(target="7", behind="7", at="00007")
    every = _files(files)
    assert options.until_in(every) == "0007"
    chosen = options.selection_in(every)
    assert (chosen.behind, chosen.at) == ("0007", "0007")
    assert Options().until_in(every) is None


def _files(tenant: tuple[Migration, ...]) -> Files:
    return Files((), (), tenant)
