"""A report's view as text, and which files may change its table."""

import re
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenancy.migrate.files.folder import load_all
from tenancy.migrate.upgrade.aside import mentioned
from tenancy.reports.text import Column, Member, clashes, view
from tenancy.settings import Settings

TYPES = [("integer", "integer", 0), ("text", "text", 100), ("text", "text", 950)]
TYPES += [("text", "text", 951), ("character varying(5)", "character varying", 100)]

columns = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(TYPES), min_size=1)
tables = st.lists(columns, min_size=1, max_size=40)


def _members(found: list[dict[str, tuple[str, str, int]]]) -> list[Member]:
    return [
        Member(
            UUID(int=number),
            f"s{number}",
            f"t_{number}.x",
            {name: Column(name, at, *kind) for at, (name, kind) in enumerate(has.items(), 1)},
            1,
        )
        for number, has in enumerate(found)
    ]


def _rows(text: str) -> dict[str, list[str]]:
    """What each table is read for, by its slug."""
    found = re.findall(r"SELECT '(s\d+)'::text, '[0-9a-f-]+'::uuid, (.*?) FROM t_", text)
    return {slug: values.split(", ") for slug, values in found}


@given(tables)
def test_every_tenant_has_one_part_and_each_part_every_column(
    found: list[dict[str, tuple[str, str, int]]],
) -> None:
    text = view("v", _members(found), None, 100)
    header = re.match(r"VIEW v \(tenant, tenant_id, (.*?)\) AS ", text)
    assert header is not None
    names = header[1].split(", ")
    assert sorted(names) == sorted({name for has in found for name in has})
    rows = _rows(text)
    assert list(rows) == [f"s{number}" for number in range(len(found))]
    for (_, values), has in zip(rows.items(), found, strict=True):
        assert len(values) == len(names)
        for name, value in zip(names, values, strict=True):
            assert value.startswith(name if name in has else "NULL::")


@given(tables)
def test_a_column_has_one_type_and_one_collation(
    found: list[dict[str, tuple[str, str, int]]],
) -> None:
    for name in {name for has in found for name in has}:
        text = view("v", _members(found), [name], 100)
        has = [columns[name] for columns in found if name in columns]
        mixed = {one[2] for one in has} >= {950, 951}
        for (value,) in _rows(text).values():
            assert value.endswith('COLLATE pg_catalog."default"') == mixed
        if len({one[1] for one in has}) > 1:
            values = [value for (value,) in _rows(text).values()]
            assert all("::text" in value or value.split(" ")[0] == name for value in values)


@settings(deadline=None)  # of a loaded machine
@given(st.integers(1, 4000))
def test_the_union_is_low(count: int) -> None:
    text = view("v", _members([{"a": TYPES[0]}] * count), None, 100)
    depth = most = 0
    for bracket in re.findall(r"[()]", text):
        depth += 1 if bracket == "(" else -1
        most = max(most, depth)
    assert depth == 0
    assert most <= 13
    assert text.count(" UNION ALL ") == count - 1


def test_without_tenants_there_are_no_rows_and_a_slug_is_a_constant() -> None:
    assert view("v", [], None, 100).endswith("AS SELECT NULL::text, NULL::uuid WHERE false")
    assert view("v", [], ["a"], 100).endswith("NULL::uuid, NULL::text WHERE false")
    assert clashes(_members([{"tenant_id": TYPES[0]}])) == ["tenant_id"]


@pytest.mark.parametrize(
    ("name", "text", "noticed"),
    [
        ("0001_a.sql", "ALTER TABLE notes ADD x int;", True),
        ("0001_a.sql", "alter table NOTES add x int;", True),
        ("0001_a.sql", 'DROP TABLE "notes";', True),
        ("0001_a.sql", "CREATE TABLE notes_archive (id int);", False),
        ("0001_a.sql", "CREATE TABLE keynotes (id int);", False),
        ("0001_a.sql", "DO $$ BEGIN EXECUTE 'DROP TABLE no' || 'tes'; END $$;", True),
        ("0001_a.sql", "-- migrate:up\nSELECT 1;\n-- migrate:down\nDROP TABLE notes;", True),
        ("0001_a.py", "async def up(conn):\n    pass\n", True),
    ],
)
def test_a_file_that_may_change_a_table_is_noticed(
    tmp_path: Path, name: str, text: str, *, noticed: bool
) -> None:
    (tmp_path / "tenant").mkdir()
    (tmp_path / "tenant" / name).write_text(text)
    assert mentioned("notes", load_all(Settings(sql_dir=tmp_path)).tenant) == noticed
