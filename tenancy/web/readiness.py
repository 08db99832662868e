"""The answers of ``/healthz`` and ``/readyz``."""

import asyncio
import json
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Protocol

import asyncpg

from tenancy.errors import NotStartedError, TenancyError
from tenancy.problems import problem

TTL_SECONDS = 0.5

_CATALOG_VERSION = (
    "SELECT version FROM tenancy.checkpoints WHERE stage OPERATOR(pg_catalog.=) 'catalog'"
)


class Connections(Protocol):
    """What can be asked, such as a pool."""

    @property
    def size(self) -> int:
        """Open connections."""

    @property
    def idle(self) -> int:
        """Those that serve nobody."""

    async def read(self, query: str) -> Sequence[Any]:
        """Return the rows of a query about the catalog."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a process can serve.

    Attributes:
        expires_at: loop time until which the database is not asked again.
        catalog_version: checkpoint of the registry's own schema.
        pool_size: open connections.
        pool_idle: those that serve nobody.
        reason: stable code of what is wrong; None: ready.
    """

    expires_at: float
    catalog_version: str | None = None
    pool_size: int = 0
    pool_idle: int = 0
    reason: str | None = None

    @property
    def status(self) -> int:
        """The HTTP status."""
        return 200 if self.reason is None else 503

    @property
    def body(self) -> bytes:
        """The JSON document."""
        if self.reason is not None:
            return json.dumps({"status": "not ready", "reason": self.reason}).encode()
        pool = {"size": self.pool_size, "idle": self.pool_idle}
        ready = {"status": "ready", "catalog_version": self.catalog_version, "pool": pool}
        return json.dumps(ready).encode()


async def alive() -> tuple[int, bytes]:
    """Answer that the process runs its event loop; asks nothing of the database."""
    return 200, b'{"status": "ok"}'


class Probe:
    """The answer of ``/readyz``: the database is asked once, however many ask us at a time.

    Args:
        pool: returns the pool, or raises `NotStartedError` where there is none.
    """

    def __init__(self, pool: Callable[[], Connections]) -> None:
        self._pool = pool
        self._answer = Readiness(float("-inf"))
        self._asking: asyncio.Task[Readiness] | None = None

    async def __call__(self) -> tuple[int, bytes]:
        """Return the status and the JSON document."""
        loop = asyncio.get_running_loop()
        if self._answer.expires_at <= loop.time():
            if self._asking is None or self._asking.done():
                self._asking = loop.create_task(self._ask(), context=Context())
            # A prober that hangs up must not fail the others.
            self._answer = await asyncio.shield(self._asking)
        return self._answer.status, self._answer.body

    async def _ask(self) -> Readiness:
        try:
            pool = self._pool()
        except NotStartedError as error:
            return Readiness(asyncio.get_running_loop().time(), reason=error.code)
        return await ask(pool)


async def ask(pool: Connections) -> Readiness:
    """Ask the database, through *pool*, whether requests can be served."""
    expires_at = asyncio.get_running_loop().time() + TTL_SECONDS
    try:
        rows = await pool.read(_CATALOG_VERSION)
    except (TenancyError, asyncpg.PostgresError) as error:
        return Readiness(expires_at, reason=problem(error).code)
    if not rows:
        return Readiness(expires_at, reason="catalog_missing")
    return Readiness(expires_at, rows[0]["version"], pool.size, pool.idle)
