"""Views that misbehave, for the torture: each does to its connection what no view should.

A view is given asyncpg's connection inside its scope, and ``see``, which checks rows it reads.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg

# The texts that all requests of the storm share, so that they are in asyncpg's cache.
ONE = "SELECT id, body FROM notes WHERE id = $1"
INSERT = "INSERT INTO notes (body) VALUES ($1)"

LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


class RaisedError(Exception):
    """A view's own."""


@dataclass
class View:
    """What a hostile view can reach.

    Attributes:
        conn: asyncpg's connection, inside the scope.
        see: told of each row read.
        nest: opens a second transaction in this task.
        left: tasks that it leaves behind.
    """

    conn: Any
    see: Callable[[Any], None]
    nest: Callable[[], Awaitable[None]]
    left: "list[asyncio.Task[None]]"


Act = Callable[[View], Awaitable[object]]


@dataclass(frozen=True)
class Hostile:
    """One kind.

    Attributes:
        act: what it does, between two writes of its own.
        commits: it may have saved the first of them by itself, whatever is said of the block.
        commits_second: and the second.
    """

    act: Act
    commits: bool = False
    commits_second: bool = False


def _sql(*texts: str) -> Act:
    async def act(view: View) -> None:
        for text in texts:
            await view.conn.execute(text)

    return act


def _swallowing(act: Act) -> Act:
    async def swallow(view: View) -> None:
        with suppress(asyncpg.PostgresError):
            await act(view)

    return swallow


async def _raises(_: View) -> None:
    raise RaisedError


async def _restores_its_scope(view: View) -> None:
    """Everything but the marker is as it was."""
    path, role = await view.conn.fetchrow(
        "SELECT current_setting('search_path'), current_setting('role')"
    )
    await view.conn.execute(f"COMMIT; BEGIN; SET LOCAL search_path = {path}; SET LOCAL ROLE {role}")


async def _scope_for_the_session(view: View) -> None:
    """And so what it writes after its own COMMIT is saved, by itself and in its own schema."""
    path, role = await view.conn.fetchrow(
        "SELECT current_setting('search_path'), current_setting('role')"
    )
    await view.conn.execute(f"SET search_path = {path}; SET ROLE {role}; COMMIT")


async def _redefines_statements(view: View) -> None:
    for name in await view.conn.fetch(
        "SELECT name FROM pg_prepared_statements WHERE statement LIKE '%FROM notes WHERE id%'"
    ):
        await view.conn.execute(
            f'DEALLOCATE "{name[0]}"; PREPARE "{name[0]}" (bigint) AS '
            "SELECT 1::bigint AS id, 'planted'::text AS body"
        )


async def _leaves_a_task(view: View) -> None:
    async def keep_reading() -> None:
        for _ in range(50):
            try:
                for row in await view.conn.fetch(ONE, 1):
                    view.see(row)
            except asyncpg.InterfaceError as error:
                if "another operation" not in str(error):
                    return
                await asyncio.sleep(0)
            except LOST:
                return

    view.left.append(asyncio.create_task(keep_reading()))
    await asyncio.sleep(0)


async def _leaves_a_statement(view: View) -> None:
    async def keep_busy() -> None:
        with suppress(*LOST):
            await view.conn.execute("SELECT pg_sleep(0.02)")

    view.left.append(asyncio.create_task(keep_busy()))
    await asyncio.sleep(0)


async def _nests(view: View) -> None:
    await view.nest()


async def _savepoint_undone(view: View) -> None:
    with suppress(asyncpg.CheckViolationError):
        async with view.conn.transaction():
            await view.conn.execute(INSERT, "")


async def _savepoint_left_open(view: View) -> None:
    await view.conn.transaction().start()


async def _gives_up_waiting(view: View) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0.002):
            await view.conn.execute("SELECT pg_sleep(0.05)")


async def _terminates(view: View) -> None:
    view.conn.terminate()


async def _closes(view: View) -> None:
    await view.conn.close(timeout=1)


async def _listens(view: View) -> None:
    await view.conn.add_listener("channel", lambda *_: None)


async def _codec(view: View) -> None:
    await view.conn.set_type_codec(
        "text", schema="pg_catalog", encoder=str, decoder=lambda _: "decoded for another tenant"
    )


async def _query_logger(view: View) -> None:
    view.conn.add_query_logger(lambda _: None)


async def _copies(view: View) -> None:
    async def discard(_: bytes) -> None:
        pass

    await view.conn.copy_from_query(
        "SELECT 1) TO STDOUT; PREPARE planted AS SELECT 1; --", output=discard
    )


async def _cursor(view: View) -> None:
    cursor = view.conn.cursor("SELECT body FROM notes")
    await (await cursor).fetch(1)


HOSTILE: dict[str, Hostile] = {
    "swallows an error": Hostile(_swallowing(_sql("SELECT 1/0"))),
    "lets an error out": Hostile(_sql("SELECT 1/0")),
    "raises": Hostile(_raises),
    "nests": Hostile(_nests),
    "swallows the end of a savepoint": Hostile(_savepoint_undone),
    "leaves a savepoint": Hostile(_savepoint_left_open),
    "COMMIT": Hostile(_sql("COMMIT"), commits=True),
    "COMMIT; BEGIN": Hostile(_sql("COMMIT; BEGIN"), commits=True),
    "COMMIT AND CHAIN": Hostile(_sql("COMMIT AND CHAIN"), commits=True),
    "COMMIT; BEGIN, scope restored": Hostile(_restores_its_scope, commits=True),
    "scope for the session": Hostile(_scope_for_the_session, commits=True, commits_second=True),
    "ROLLBACK": Hostile(_sql("ROLLBACK")),
    "ROLLBACK; BEGIN": Hostile(_sql("ROLLBACK; BEGIN")),
    "session path": Hostile(_sql("SET search_path = public")),
    "local path": Hostile(_sql("SET LOCAL search_path = public")),
    "path by set_config": Hostile(_sql("SELECT set_config('search_path', 'public', false)")),
    "SET ROLE NONE": Hostile(_sql("SET ROLE NONE")),
    "RESET ROLE": Hostile(_sql("RESET ROLE")),
    "RESET SESSION AUTHORIZATION": Hostile(_sql("RESET SESSION AUTHORIZATION")),
    "forged marker": Hostile(_sql("SET tenancy.scope = 'forged'")),
    "COMMIT, then session settings": Hostile(
        _sql("COMMIT", "SET search_path = public; SET work_mem = '64kB'; BEGIN"), commits=True
    ),
    "temporary table": Hostile(
        _sql("CREATE TEMP TABLE notes (id bigint, body text); INSERT INTO notes VALUES (1, 'x')")
    ),
    "temporary table by name": Hostile(
        _sql("SELECT 1::bigint AS id, 'planted'::text AS body INTO TEMP notes")
    ),
    "PREPARE": Hostile(_sql("PREPARE planted AS SELECT 1")),
    "PREPARE in a DO block": Hostile(
        _sql("DO $$ BEGIN EXECUTE 'PREPARE planted AS SELECT 1'; END $$")
    ),
    "PREPARE through COPY": Hostile(_copies),
    "PREPARE TRANSACTION": Hostile(_sql("PREPARE TRANSACTION 'mine'")),
    "redefined statement": Hostile(_redefines_statements),
    "DEALLOCATE ALL": Hostile(_sql("DEALLOCATE ALL")),
    "LISTEN": Hostile(_sql("LISTEN channel")),
    "listener": Hostile(_listens),
    "NOTIFY": Hostile(_sql("NOTIFY channel, 'x'")),
    "advisory lock": Hostile(_sql("SELECT pg_try_advisory_lock(42)")),
    "shared advisory lock": Hostile(_sql("SELECT pg_try_advisory_lock_shared(43)")),
    "cursor with hold": Hostile(_sql("DECLARE held CURSOR WITH HOLD FOR SELECT 1")),
    "cursor": Hostile(_cursor),
    "sequence state": Hostile(
        _sql("SELECT nextval(pg_get_serial_sequence('notes', 'id')), lastval()")
    ),
    "setting": Hostile(_sql("SET work_mem = '64kB'")),
    "read-only from now on": Hostile(_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")),
    "statement timeout": Hostile(_sql("SET statement_timeout = 1", "SELECT pg_sleep(0.01)")),
    "gives up waiting": Hostile(_gives_up_waiting),
    "leaves a task": Hostile(_leaves_a_task),
    "leaves a statement": Hostile(_leaves_a_statement),
    "codec": Hostile(_codec),
    "query logger": Hostile(_query_logger),
    "terminates its connection": Hostile(_terminates),
    "closes its connection": Hostile(_closes),
    "ends its back end": Hostile(_sql("SELECT pg_terminate_backend(pg_backend_pid())")),
    "cancels its back end": Hostile(
        _swallowing(_sql("SELECT pg_cancel_backend(pg_backend_pid())"))
    ),
}
