"""What the integration tests share."""

from pathlib import Path

import pytest
from support.fleets import NOTES, Fleet


@pytest.fixture
def fresh(admin_dsn: str, tmp_path: Path) -> Fleet:
    """An empty database, and a folder with one tenant file."""
    fleet = Fleet(admin_dsn, tmp_path / "sql")
    fleet.sql.mkdir()
    fleet.write("tenant/0001_notes.sql", NOTES)
    return fleet


@pytest.fixture
async def fleet(fresh: Fleet) -> Fleet:
    """The same with a catalog, and no tenant yet."""
    (await fresh.up()).raise_for_failures()
    return fresh
