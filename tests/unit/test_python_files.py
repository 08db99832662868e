"""Python files before they run: loading them; and the pace of a backfill."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.errors import MigrationError, MigrationFileError
from tenancy.migrate.files.folder import load as load_folder
from tenancy.migrate.files.model import Migration, Stage
from tenancy.migrate.upgrade import modules
from tenancy.migrate.upgrade.keyset import Keyset
from tenancy.migrate.upgrade.pace import FIRST, LARGEST, SMALLEST, Pace, resized

UP = "async def up(context):\n    return 'as it was read'\n"


@pytest.fixture(autouse=True)
def _modules_as_before() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def _migration(folder: Path, text: str, name: str = "0001_odd.py") -> Migration:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return load_folder(folder, Stage.TENANT)[-1]


async def test_what_runs_is_the_text_whose_checksum_is_known(tmp_path: Path) -> None:
    migration = _migration(tmp_path, UP)
    (tmp_path / "0001_odd.py").write_text(UP.replace("as it was read", "changed since"))
    assert await modules.load(migration).up(None) == "as it was read"  # type: ignore[func-returns-value]
    assert not list(tmp_path.rglob("*.pyc"))


def test_a_module_is_under_a_name_that_no_application_has(tmp_path: Path) -> None:
    before = set(sys.modules)
    modules.load(_migration(tmp_path, UP, "0001_json.py"))
    assert {name.partition(":")[0] for name in set(sys.modules) - before} == {"tenancy-migration"}
    assert sys.modules["json"].__file__ != str(tmp_path / "0001_json.py")


def test_two_folders_may_have_files_of_one_name(tmp_path: Path) -> None:
    one = modules.load(_migration(tmp_path / "a", UP))
    other = modules.load(_migration(tmp_path / "b", UP))
    assert one.up is not other.up
    assert modules.load(_migration(tmp_path / "a", UP)).up is one.up


def test_a_file_may_define_dataclasses(tmp_path: Path) -> None:
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        f"@dataclass\nclass Row:\n    id: int\n{UP}"
    )
    assert modules.load(_migration(tmp_path, text)).down is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            f"import os\nos.environ['NO_SUCH']\n{UP}",
            ":2:1: importing it failed: KeyError: 'NO_SUCH'",
        ),
        (f"\nimport sys; sys.exit('no')\n{UP}", ":2:13: importing it failed: SystemExit: no"),
        (f"def helper():\n    raise OSError\nhelper()\n{UP}", ":2:5: importing it failed: OSError"),
        (f"{UP}\ndel up", "defines no `async def up"),
        (f"import functools\n{UP}\nup = functools.partial(print)", "up is no coroutine"),
        (f"{UP}\nasync def up2(a, b): pass\nup = up2", "cannot be called with the context alone"),
    ],
)
def test_what_cannot_be_loaded_is_refused_with_its_line(
    tmp_path: Path, text: str, why: str
) -> None:
    migration = _migration(tmp_path, text)
    before = set(sys.modules)
    with pytest.raises(MigrationFileError) as error:
        modules.require([migration])
    assert str(error.value).startswith("tenant/0001_odd.py:")
    assert why in str(error.value)
    assert not {name for name in set(sys.modules) - before if name.startswith("tenancy-")} or (
        "importing" not in why
    )


# The pace of a backfill


@given(st.integers(SMALLEST, LARGEST), st.floats(0, 1e4), st.floats(0.001, 100))
def test_a_size_goes_towards_the_wanted_time_by_twice_or_half_at_most(
    size: int, took: float, wanted: float
) -> None:
    found = resized(size, took, wanted)
    assert SMALLEST <= found <= LARGEST
    assert size // 2 <= found <= size * 2
    assert (found >= size) if took < wanted else (found <= size)


@given(st.floats(0.0001, 0.01))
def test_a_size_settles_where_a_batch_takes_what_is_wanted(seconds_per_row: float) -> None:
    size = FIRST
    for _ in range(20):
        size = resized(size, size * seconds_per_row, 0.5)
    assert size == SMALLEST or abs(size * seconds_per_row - 0.5) < 0.01


@given(st.integers(1, 10**6), st.floats(0, 1e4))
def test_a_size_that_was_asked_for_stays(size: int, took: float) -> None:
    assert Pace(size, 0.5, 0.1, 0.0).next(size, took) == size


@given(st.floats(0, 10), st.floats(0, 10), st.floats(0, 100))
def test_a_pause_is_a_share_of_the_time_and_the_throttle_at_least(
    rest: float, throttle: float, took: float
) -> None:
    assert Pace(None, 0.5, rest, throttle).pause(took) == max(throttle, rest * took)


@pytest.mark.parametrize("wrong", [(0, 1, 0, 0), (-1, 1, 0, 0), (1, 0, 0, 0), (1, 1, -1, 0)])
def test_a_pace_that_never_ends_is_refused(wrong: tuple[int, float, float, float]) -> None:
    with pytest.raises(MigrationError, match="size and seconds are above 0"):
        Pace(*wrong)


def test_a_range_begins_after_the_key_before_it() -> None:
    way = Keyset('"t"."words"', ("a", '"B"'), ("bigint", "text"), "a > 0 -- odd")
    assert way.next(begun=False).endswith(
        'FROM "t"."words" WHERE (a > 0 -- odd\n) ORDER BY a, "B" LIMIT $1) AS batch'
    )
    assert '\n) AND (a, "B") > ($2::bigint, $3::text) ORDER' in way.next(begun=True)
