"""G6: what is said when the connection breaks, and the price of the gate in round trips."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from pydantic import SecretStr
from support.databases import Database
from support.notes import read
from support.wire import CUT, CUT_ANSWER, HOLD, Wire, passing, when, wire

from tenancy import Tenancy, TenancyError
from tenancy.errors import CommitUnknownError, DatabaseUnavailableError

INSERT = "INSERT INTO notes (body) VALUES ('sent')"


@pytest.fixture
async def line(database: Database) -> AsyncIterator[Wire]:
    async with wire(database.app_url) as proxy:
        yield proxy


@pytest.fixture
async def remote(database: Database, line: Wire) -> AsyncIterator[Tenancy]:
    """Tenancy on the far side of a wire."""
    settings = database.settings(
        database_url=SecretStr(line.url),
        pool_max_size=1,
        statement_timeout_seconds=1.0,
        registry_listen=False,  # round trips are counted
        registry_ttl_seconds=3600,
    )
    async with Tenancy(settings=settings) as tenancy:
        yield tenancy
        line.verdict = passing


async def _insert(tenancy: Tenancy) -> None:
    async with tenancy.transaction("acme") as conn:
        await conn.execute(INSERT)


async def test_one_query_costs_three_round_trips(
    remote: Tenancy, line: Wire, database: Database
) -> None:
    await _insert(remote)
    for requests in (5, 10):  # the first ones PREPARE
        line.round_trips = 0
        for _ in range(requests):
            async with remote.transaction("acme", readonly=True) as conn:
                await conn.fetch("SELECT body FROM notes WHERE id = $1", 1)
    assert line.round_trips == (40 if database.pooled else 30)  # no statement is kept by a pooler


async def test_a_connection_that_died_idle_is_replaced_unseen(
    remote: Tenancy, line: Wire, tenancy: Tenancy
) -> None:
    await _insert(remote)
    line.verdict = when(b"BEGIN", CUT)
    await _insert(remote)
    assert await read(tenancy, "acme") == ["sent", "sent"]


async def test_a_wire_cut_before_the_query_is_unavailable_and_saves_nothing(
    remote: Tenancy, line: Wire, tenancy: Tenancy
) -> None:
    line.verdict = when(b"INSERT", CUT)
    with pytest.raises(DatabaseUnavailableError):
        await _insert(remote)
    assert await read(tenancy, "acme") == []


@pytest.mark.parametrize(("verdict", "saved"), [(CUT, []), (CUT_ANSWER, ["sent"])])
async def test_a_wire_cut_at_commit_leaves_the_outcome_unknown(
    remote: Tenancy, line: Wire, tenancy: Tenancy, verdict: str, saved: list[str]
) -> None:
    line.verdict = when(b"COMMIT", verdict)
    with pytest.raises(CommitUnknownError):
        await _insert(remote)
    assert await read(tenancy, "acme") == saved
    await _insert(remote)


async def test_a_black_hole_at_commit_leaves_the_outcome_unknown(
    remote: Tenancy, line: Wire
) -> None:
    line.verdict = when(b"COMMIT", HOLD)
    with pytest.raises(CommitUnknownError):
        await _insert(remote)
    line.verdict = passing
    await _insert(remote)


async def test_a_black_hole_at_begin_ends_within_the_deadline(remote: Tenancy, line: Wire) -> None:
    line.verdict = when(b"BEGIN", HOLD, times=9)
    with pytest.raises(TenancyError):
        await _insert(remote)
    line.verdict = passing
    await _insert(remote)


async def test_a_read_cut_at_commit_had_nothing_to_save(remote: Tenancy, line: Wire) -> None:
    line.verdict = when(b"COMMIT", CUT)
    with pytest.raises(DatabaseUnavailableError):
        async with remote.transaction("acme", readonly=True) as conn:
            await conn.fetch("SELECT body FROM notes")


@pytest.mark.parametrize("seconds", [0.0, 0.01])
async def test_backends_that_are_killed_idle_are_replaced_unseen(
    tenancy: Tenancy, database: Database, server_url: str, seconds: float
) -> None:
    killer = await asyncpg.connect(server_url)
    for _ in range(20):
        await _insert(tenancy)
        await killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'tenancy' AND datname = $1",
            database.name,
        )
        await asyncio.sleep(seconds)
    await killer.close()
    assert await read(tenancy, "acme") == ["sent"] * 20
