"""WIRE, of G5 to G7: each fault of a network, before and after each message of a block.

Short form: each cell once. Long form (--long): twenty times.
"""

import asyncio
from dataclasses import dataclass

import pytest
from pydantic import SecretStr
from support.databases import Database, superuser
from support.notes import read, schema_of
from support.storm import orphans, slots_lost
from support.wire import (
    CUT,
    CUT_ANSWER,
    DELAY,
    DELAY_ANSWER,
    HOLD,
    HOLD_ANSWER,
    RESET,
    RESET_ANSWER,
    passing,
    when,
    wire,
)

from tenancy import Tenancy
from tenancy.errors import CommitUnknownError, DatabaseUnavailableError
from tenancy.pool.pool import CLOSE_TIMEOUT_SECONDS
from tenancy.problems import problem

pytestmark = pytest.mark.timeout(600)

STATEMENT_TIMEOUT_SECONDS = 2.0
COMMAND_TIMEOUT_SECONDS = STATEMENT_TIMEOUT_SECONDS + 1
PROMISED_SECONDS = max(COMMAND_TIMEOUT_SECONDS, CLOSE_TIMEOUT_SECONDS) + 1
NOISE_SECONDS = 1.5  # of a machine that does other things too

MESSAGES = {"begin": b"BEGIN", "query": b"INSERT", "commit": b"; COMMIT", "rollback": b"ROLLBACK;"}
FAULTS = {
    "cut": (CUT, CUT_ANSWER),
    "reset": (RESET, RESET_ANSWER),
    "black hole": (HOLD, HOLD_ANSWER),
    "delay": (DELAY, DELAY_ANSWER),
}


class ViewError(Exception):
    """The view's own: it makes the gate roll back."""


@dataclass(frozen=True)
class Cell:
    """One fault, met once by a block that inserts a row; a hole swallows all that follows too."""

    fault: str
    side: str
    message: str

    @property
    def name(self) -> str:
        return f"{self.fault} {self.side} {self.message}"

    @property
    def expected(self) -> tuple[type[Exception] | None, int, bool]:
        """The error, its answer over HTTP, and whether the row is there."""
        if self.message == "rollback":
            return ViewError, 500, False
        if self.fault == "black hole" and self.message == "begin":  # it takes all the time there is
            return DatabaseUnavailableError, 503, False
        if self.fault == "delay" or self.message == "begin":  # nothing had run: tried again
            return None, 200, True
        if self.message == "commit":
            return CommitUnknownError, 503, self.side == "after"
        if self.fault == "black hole":
            return TimeoutError, 504, False
        return DatabaseUnavailableError, 503, False

    async def met(self, database: Database) -> tuple[type[Exception] | None, int, bool]:
        async with wire(database.app_url) as line:
            settings = database.settings(
                database_url=SecretStr(line.url),
                pool_max_size=1,
                statement_timeout_seconds=STATEMENT_TIMEOUT_SECONDS,
                idle_in_transaction_timeout_seconds=COMMAND_TIMEOUT_SECONDS + 1,
            )
            async with Tenancy(settings=settings) as tenancy:
                await read(tenancy, "acme")
                line.verdict = when(
                    MESSAGES[self.message], FAULTS[self.fault][self.side == "after"]
                )
                error = await self._told(tenancy)
                line.verdict = passing
                saved = self.name in await asyncio.wait_for(read(tenancy, "acme"), 10)
                assert await slots_lost(tenancy, "acme") == 0, self.name
        return (type(error), problem(error).status, saved) if error else (None, 200, saved)

    async def _told(self, tenancy: Tenancy) -> Exception | None:
        patience = COMMAND_TIMEOUT_SECONDS + 1 if self.message == "query" else PROMISED_SECONDS
        try:
            async with asyncio.timeout(patience + NOISE_SECONDS) as deadline:
                async with tenancy.transaction("acme") as conn:
                    await conn.execute("INSERT INTO notes (body) VALUES ($1)", self.name)
                    if self.message == "rollback":
                        raise ViewError  # noqa: TRY301 - as a view would
        except Exception as error:
            assert not deadline.expired(), f"{self.name}: no end within the deadline"
            return error
        return None


MATRIX = [
    Cell(fault, side, message)
    for fault in FAULTS
    for side in ("before", "after")
    for message in MESSAGES
]


async def test_each_fault_of_the_wire_is_told_as_what_it_is(database: Database, long: bool) -> None:
    """All cells at once, each with a pool of one behind a wire of its own: it is mostly waiting."""
    for _ in range(20 if long else 1):
        met = await asyncio.gather(*(cell.met(database) for cell in MATRIX), return_exceptions=True)
        wrong = {
            cell.name: (what, cell.expected)
            for cell, what in zip(MATRIX, met, strict=True)
            if what != cell.expected
        }
        assert not wrong, wrong
        assert await orphans(database, at_most=0) == 0
        async with superuser(database.superuser_url) as conn:
            await conn.execute(f'TRUNCATE "{await schema_of(conn, "acme")}".notes')
