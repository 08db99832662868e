"""What has to be done now and then, whoever does it: ``python -m tenancy maintain``.

Each task does what it finds to do, holds no state of its own, and may run twice at once, or be
killed at any moment.
"""

import asyncio
import logging
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import asyncpg

from tenancy.errors import MaintenanceError, TenancyError, UnknownTenantError
from tenancy.faults import LOST, reason
from tenancy.migrate.upgrade.lock import LockHeldError
from tenancy.provision.actor import Actor
from tenancy.provision.administrator import Administrator, administrator
from tenancy.settings import Settings

_log = logging.getLogger(__name__)

ACTOR = "maintenance"
WAIT_SECONDS = 5.0  # for whoever is in the way of a purge: the next round tries again

# Does what is to be done, and returns how much that was.
Task = Callable[[Administrator], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Done:
    """What came of one task.

    Attributes:
        task: its name.
        count: how much there was to do, and was done.
        code: of the error that ended it; None: none did.
        message: of that error.
    """

    task: str
    count: int = 0
    code: str | None = None
    message: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Members for a JSON document."""
        return asdict(self)


async def purge(admin: Administrator) -> int:
    """Purge the tenants whose date has come, and go on with those whose purge was interrupted.

    Raises:
        MaintenanceError: some could not be; names them. The others were.
    """
    done, failed = 0, []
    for slug in await admin.due():
        try:
            await admin.purge(slug, wait_seconds=WAIT_SECONDS)
        except (UnknownTenantError, LockHeldError):
            continue  # somebody else is at it
        except LOST:
            raise
        except (TenancyError, asyncpg.PostgresError) as error:
            words = reason(error) if isinstance(error, asyncpg.PostgresError) else str(error)
            _log.warning("%s cannot be purged: %s", slug, words)
            failed.append(slug)
        else:
            done += 1
    if failed:
        raise MaintenanceError(f"{len(failed)} cannot be purged, {done} were: {', '.join(failed)}")
    return done


async def reports(admin: Administrator) -> int:
    """Let reports read the tenants and columns that there are.

    Raises:
        ReportTooLargeError, ReportInUseError: one cannot be changed; says why.
    """
    return len(await admin.refresh_reports())


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "purge": purge,
        "refill": Administrator.refill,
        "forget_keys": Administrator.forget_keys,
        "reports": reports,
    }
)


async def once(settings: Settings, tasks: Mapping[str, Task] = TASKS) -> AsyncIterator[Done]:
    """Do each of *tasks* once, and yield what came of it; an error of one ends no other.

    Each has a connection of its own, so that none leaves anything to the next.
    """
    actor = Actor(ACTOR, socket.gethostname())
    for name, task in tasks.items():
        try:
            async with administrator(settings, actor=actor) as admin:
                done = Done(name, await task(admin))
        except TenancyError as error:
            done = Done(name, 0, error.code, str(error))
        except (asyncpg.PostgresError, *LOST) as error:
            done = Done(name, 0, type(error).__name__, reason(error))
        yield done


async def forever(
    settings: Settings, every_seconds: float, tasks: Mapping[str, Task] = TASKS
) -> AsyncIterator[Done]:
    """Do *tasks* again and again, with a pause of *every_seconds* in between, until cancelled.

    The pause is uneven by a tenth, so that processes started together do not stay together.
    """
    while True:
        async for done in once(settings, tasks):
            yield done
        await asyncio.sleep(every_seconds * random.uniform(0.9, 1.1))  # noqa: S311 - no secret
