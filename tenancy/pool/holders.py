"""The places of asyncpg's pool: which connection is taken, how it is given back, how it is closed.

Nothing here waits, so that no cancellation is raised in here, and no timer or task is needed.

The names beginning with an underscore belong to asyncpg 0.32; tests/unit/test_asyncpg_pin.py fails
when they move.
"""

import sys

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from tenancy.pool.connection import ForgetfulConnection


def discard_idle(pool: asyncpg.Pool) -> None:
    """Close those of *pool* that nobody uses, because the server they lead to is gone."""
    for holder in pool._holders:
        if holder.is_idle():
            holder.terminate()


async def take(pool: asyncpg.Pool, schema: str) -> PoolConnectionProxy | None:
    """Return the idle connection of *pool* that suits *schema* best; None: there is none, so wait.

    Never waits, and so needs neither timer nor task. One that has served the schema knows its
    tables and plans; failing that, the one that has served the fewest keeps memory even.
    """
    queue = pool._queue
    if pool._closing or queue._getters:  # not before those who wait
        return None
    best, fewest = None, sys.maxsize
    for holder in reversed(queue._queue):
        conn = holder._con
        if conn is None or conn.is_closed() or holder._generation != pool._generation:
            continue
        if schema in conn.served:
            best = holder
            break
        if len(conn.served) < fewest:
            best, fewest = holder, len(conn.served)
    if best is None:
        return None
    queue._queue.remove(best)
    return await best.acquire()


async def give_back(conn: PoolConnectionProxy, max_served: int) -> bool:
    """Give *conn* back to its pool if that takes no time; return whether it did.

    Never waits, so that no cancellation is raised in here. asyncpg's own release does, in a task of
    its own, which a connection that is clean is saved. One that has served more than *max_served*
    schemas is closed: the server's memory of them is freed in no other way.
    """
    inner: ForgetfulConnection | None = conn._con
    if inner is None:  # closed, and given back with that
        return True
    if not inner.is_clean:
        return False
    holder = conn._holder
    if (
        len(inner.served) > max_served
        or holder._generation != holder._pool._generation
        or inner._protocol.queries_count >= holder._max_queries
    ):
        inner.terminate()
        return True
    inner._on_release()
    await holder.release(None)
    return True


def is_gone(conn: PoolConnectionProxy) -> bool:
    """Whether *conn* is closed or given back; a proxy of asyncpg's can lose it at any time."""
    return conn._con is None or conn._con.is_closed()


def discard(conn: PoolConnectionProxy) -> None:
    """Close *conn* without a word to the server, because its state is not known."""
    if conn._con is not None:
        conn._con.terminate()
