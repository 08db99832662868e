"""One piece of work for every tenant, several at a time: `Fanout` is the part of `Tenancy` for it.

Each tenant is served in a task of its own, in a transaction of its own, so that no two scopes meet.
No more are begun than are taken: at most *parallel* results are under way or wait to be fetched.
"""

import asyncio
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, suppress
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from tenancy import scope
from tenancy import tenant as tenants
from tenancy.errors import TenantMismatchError, UnknownTenantError
from tenancy.pool.pool import Pool
from tenancy.registry import lookup
from tenancy.settings import Settings
from tenancy.tenant import State, Tenant
from tenancy.transaction import Transaction

R = TypeVar("R")
T = TypeVar("T")

PARALLEL = 8
SERVED = (State.ACTIVE, State.READ_ONLY)

_OPENED = frozenset({*SERVED, State.SUSPENDED})
_AGAIN_SECONDS = 1.0


class _GoneError(Exception):
    """The tenant was deleted after it was listed."""


class Each(AsyncIterator[tuple[Tenant, R | BaseException]], Generic[R]):
    """Tenants with what came of the work for them, in the order in which it ended.

    ``async for`` is enough. After an early ``break`` what is under way is cancelled and rolled back
    as soon as nobody holds this object; with ``async with`` around it, when the block ends.
    """

    def __init__(self, results: AsyncGenerator[tuple[Tenant, R | BaseException], None]) -> None:
        self._results = results

    async def __anext__(self) -> tuple[Tenant, R | BaseException]:
        return await self._results.__anext__()

    async def aclose(self) -> None:
        """Cancel what is under way, and wait until it is rolled back."""
        await self._results.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


class Fanout(ABC):
    """What `Tenancy` can do for every tenant at once."""

    settings: Settings

    @property
    @abstractmethod
    def pool(self) -> Pool:
        """The connections of this process."""

    @abstractmethod
    def transaction(
        self, of: Tenant | str | None = None, *, readonly: bool = False
    ) -> AbstractAsyncContextManager[PoolConnectionProxy]:
        """Return a transaction of a tenant."""

    @overload
    def each(
        self,
        work: str,
        *args: object,
        parallel: int = PARALLEL,
        states: Collection[State | str] = SERVED,
        readonly: bool = True,
    ) -> Each[list[asyncpg.Record]]: ...

    @overload
    def each(
        self,
        work: Callable[..., Awaitable[R]],
        *args: object,
        parallel: int = PARALLEL,
        states: Collection[State | str] = SERVED,
        readonly: bool = True,
    ) -> Each[R]: ...

    def each(
        self,
        work: str | Callable[..., Awaitable[Any]],
        *args: object,
        parallel: int = PARALLEL,
        states: Collection[State | str] = SERVED,
        readonly: bool = True,
    ) -> Each[Any]:
        """Do *work* for every tenant, and iterate over the tenants with what came of it.

        ::

            async for tenant, rows in tenancy.each("SELECT count(*) FROM notes"):
                if isinstance(rows, BaseException):
                    log.error("%s: %s", tenant.slug, rows)

        An error of one tenant is its result, as of `asyncio.gather` with ``return_exceptions``, and
        the others go on. No more is begun while nobody asks for the next result. For scripts, jobs
        and the operator's views; a tenant that is purged meanwhile is left out.

        Args:
            work: a query, whose rows are the result; or an async function, called with the
                tenant's connection and *args* inside its transaction, which commits when it
                returns. Inside, ``tenancy.tenant`` is the tenant.
            args: of the query or the function.
            parallel: tenants at a time. The pool leaves a connection to requests, so it is never
                more than ``TENANCY_POOL_MAX_SIZE`` less one.
            states: of the tenants that are meant: ``active``, ``read_only``, ``suspended``. Those
                that are not served, the suspended ones, are only read.
            readonly: the server refuses writes.

        Raises:
            TenantMismatchError: this task serves a tenant.
            NotStartedError: `Tenancy.start` has not been called.
            TypeError, ValueError: an argument cannot be used.
            PoolExhaustedError, DatabaseUnavailableError: the list of tenants cannot be read; while
                iterating.
        """
        request = tenants.request()
        if request is not None and request.tenant is not None:
            raise TenantMismatchError(
                "this request serves one tenant, and each() goes through all of them: call it from "
                "a script, a job or a view of the operator's host"
            )
        if parallel < 1:
            raise ValueError(f"parallel is {parallel}: it is 1 or more")
        parallel = min(parallel, max(1, self.settings.pool_max_size - 1))
        return Each(self._each(_callable(work), args, parallel, _chosen(states), readonly))

    async def _each(
        self,
        work: Callable[..., Awaitable[R]],
        args: tuple[object, ...],
        parallel: int,
        states: Collection[State],
        readonly: bool,  # noqa: FBT001 - as it was given
    ) -> AsyncGenerator[tuple[Tenant, R | BaseException], None]:
        under_way: dict[asyncio.Task[R], Tenant] = {}
        try:
            async with aclosing(_listed(self.pool, states)) as listed:
                async for whose in listed:
                    doing = self._one(whose, work, args, readonly=readonly)
                    under_way[asyncio.create_task(doing)] = whose
                    if len(under_way) == parallel:
                        for result in await _first(under_way):
                            yield result
            while under_way:
                for result in await _first(under_way):
                    yield result
        finally:
            await _cancelled(set(under_way))

    async def _one(
        self,
        whose: Tenant,
        work: Callable[..., Awaitable[R]],
        args: tuple[object, ...],
        *,
        readonly: bool,
    ) -> R:
        with tenants.serving(whose):
            async with AsyncExitStack() as stack:
                try:
                    conn = await stack.enter_async_context(self._opened(whose, readonly=readonly))
                except UnknownTenantError as error:
                    raise _GoneError from error
                return await work(conn, *args)

    def _opened(
        self, whose: Tenant, *, readonly: bool
    ) -> AbstractAsyncContextManager[PoolConnectionProxy]:
        if whose.state in SERVED:
            return self.transaction(whose, readonly=readonly)
        # Not through the registry, which lets nobody in.
        inside = scope.of_tenant(whose, self.settings, readonly=True, isolation=None)
        return Transaction(self.pool, inside)


async def _listed(pool: Pool, states: Collection[State]) -> AsyncGenerator[Tenant, None]:
    """Yield the tenants in one of *states*, read page by page: not as of one moment."""
    async for page in lookup.pages(pool.read, sys.maxsize):
        for found in page:
            if found.tenant.state in states:
                yield found.tenant


async def _first(
    under_way: dict[asyncio.Task[R], Tenant],
) -> list[tuple[Tenant, R | BaseException]]:
    """Take one that has ended out of *under_way*; nothing where its tenant is gone."""
    await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
    task = next(task for task in under_way if task.done())
    whose = under_way.pop(task)
    if task.cancelled():
        return [(whose, asyncio.CancelledError())]
    error = task.exception()
    if error is None:
        return [(whose, task.result())]
    if not isinstance(error, Exception):
        raise error  # SystemExit and the like are nobody's result
    return [] if isinstance(error, _GoneError) else [(whose, error)]


async def _cancelled(tasks: set[asyncio.Task[R]]) -> None:
    """Cancel *tasks* until all have ended: the driver may swallow one, while it connects."""
    while tasks:
        for task in tasks:
            task.cancel()
        done, tasks = await asyncio.wait(tasks, timeout=_AGAIN_SECONDS)
        for task in done:
            with suppress(asyncio.CancelledError):
                task.exception()  # nobody asks for it any more


def _callable(work: str | Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    """Return *work* as a function of a connection and arguments."""
    if isinstance(work, str):

        async def fetch(conn: PoolConnectionProxy, *args: object) -> Any:  # noqa: ANN401
            return await conn.fetch(work, *args)

        return fetch
    if inspect.iscoroutine(work):
        work.close()
        raise TypeError("give the async function itself, and its arguments behind it: not called")
    if not callable(work):
        raise TypeError(f"work must be a query or an async function, not {type(work).__name__}")
    return work


def _chosen(states: Collection[State | str]) -> frozenset[State]:
    if isinstance(states, str):
        raise TypeError(f"states is one string: give a list, as ({states!r},)")
    chosen = frozenset(State(state) for state in states)
    if barred := chosen - _OPENED:
        raise ValueError(f"{', '.join(sorted(barred))}: such a tenant may have no tables")
    return chosen
