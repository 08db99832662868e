"""Reports whose tables a run may change: away from them before it, and made again after it.

A column that a view reads cannot be dropped, nor get another type, and no table can be dropped.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol, TypeVar

import asyncpg

from tenancy.errors import ReportInUseError, TenancyError
from tenancy.faults import LOST, reason
from tenancy.migrate.files.model import Language, Migration
from tenancy.migrate.upgrade.session import backoff
from tenancy.reports import records, views

_log = logging.getLogger(__name__)

TRIES = 10  # each waits for its lock, see `views.LOCK_SECONDS`
LAST_SECONDS = 60.0

Result = TypeVar("Result")


class Ask(Protocol):
    """Returns what an operation on the run's own connection returns."""

    async def __call__(
        self, operation: Callable[[asyncpg.Connection], Awaitable[Result]], /
    ) -> Result:
        """Return what *operation* returns."""


@asynccontextmanager
async def reports(
    ask: Ask, pending: Callable[[], Awaitable[Iterable[Migration]]]
) -> AsyncIterator[None]:
    """Let no report read a table that one of the files *pending* may change, inside the block.

    Those that an earlier run, which was killed, has left aside are made again too.

    Raises:
        ReportInUseError: somebody reads one, and went on with it; names him.
    """
    found = await ask(records.every)
    if not found:
        yield
        return
    files = list(await pending())
    try:
        for report in found:
            if mentioned(report.table, files):
                await _patiently(ask, partial(views.set_aside, name=report.name))
        yield
    finally:
        await _made_again(ask)


def mentioned(table: str, pending: Iterable[Migration]) -> bool:
    """Whether one of *pending* may change *table*: has its name, or makes up what it runs."""
    words = re.compile(rf"(?<!\w){re.escape(table)}(?!\w)|\bEXECUTE\b", re.IGNORECASE)
    return any(
        one.language is Language.PYTHON or any(words.search(text) for text in _texts(one))
        for one in pending
    )


def _texts(migration: Migration) -> Sequence[str]:
    written = migration.written
    return [source.text for source in (written.source, written.down) if source is not None]


async def _made_again(ask: Ask) -> None:
    """Make again what is aside; the run is what it is, whether that works or not."""
    try:
        async with asyncio.timeout(LAST_SECONDS):
            for report in await ask(records.every):
                if report.aside_at:
                    await _again(ask, report.name)
    except (TenancyError, asyncpg.PostgresError, *LOST) as error:
        _log.warning("reports may be aside: run `python -m tenancy reports refresh` (%s)", error)


async def _again(ask: Ask, name: str) -> None:
    try:
        await _patiently(ask, partial(views.refresh, name=name))
    except (TenancyError, asyncpg.PostgresError) as error:
        words = reason(error) if isinstance(error, asyncpg.PostgresError) else error
        _log.warning(
            "the report %s is aside until `python -m tenancy reports refresh`: %s", name, words
        )


async def _patiently(
    ask: Ask, operation: Callable[[asyncpg.Connection], Awaitable[object]]
) -> None:
    for attempt in range(1, TRIES):
        try:
            await ask(operation)
        except ReportInUseError:
            await backoff(attempt)
        else:
            return
    await ask(operation)
