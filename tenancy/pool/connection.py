"""A connection that forgets.

asyncpg's own reset keeps a role, temporary tables, PREPAREd names, sequence values, codecs and
query loggers. Here a connection goes back only when it remembers nothing; one in an unknown state
is closed.

The names beginning with an underscore that are used here belong to asyncpg 0.32; pyproject.toml
pins it, and tests/unit/test_asyncpg_pin.py fails when they move.
"""

import secrets
from typing import Any

import asyncpg
from asyncpg.transaction import Transaction

from tenancy.identifiers import literal
from tenancy.pool import lent, statements
from tenancy.pool.entry import FORGET, Entry, reseed
from tenancy.pool.shapes import Shape, Shapes, Uses, keys
from tenancy.settings import StatementCache

# A cached statement met tables of another shape than those it was prepared for.
MISFITS = (
    asyncpg.InvalidCachedStatementError,
    asyncpg.OutdatedSchemaCacheError,
    asyncpg.DatatypeMismatchError,
)


class Connection(asyncpg.Connection):  # type: ignore[misc]
    """asyncpg's own, but that it looks types up without ``set_config``.

    asyncpg turns the server's jit off for that query and on again. At level ``strict`` nobody may
    call ``set_config``.
    """

    _server_caps: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._server_caps = self._server_caps._replace(jit=False)


class ForgetfulConnection(Connection, lent.LendingConnection):
    """A connection that one tenant after another uses, and that keeps nothing of either.

    Attributes:
        served: schemas it has been in; the server keeps something of each in memory.
        may_have_prepared: whether this block could have used PREPARE.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clean = True
        self._entry: Entry | None = None
        self._untouched = False
        self._tampered = False
        self._strict = False
        self._guard: Any = None
        self._uses = Uses(Shapes(StatementCache.VERSION, 0))
        self.served: set[str] = set()
        self.may_have_prepared = False
        # Without a cache of ours no name in the server is worth keeping: a pooler lends the session
        # to somebody else, whose names they may be.
        self._deallocate = "" if self._stmt_cache_enabled else "DEALLOCATE ALL; "

    def join(self, shapes: Shapes) -> None:
        """Become a connection of the pool that has these *shapes*."""
        self._uses = Uses(shapes)

    @property
    def is_clean(self) -> bool:
        """Whether it remembers nothing, so that `reset` has nothing to do."""
        return self._clean and not self._listeners and not self.is_closed()

    async def enter(self, entry: Entry, timeout: float) -> None:
        """Begin a transaction, in one round trip of *timeout* seconds at most."""
        self._clean = False
        await super().execute(entry.sql, timeout=timeout)
        self._entry = entry
        self._untouched = True
        # For good: a task that a block has left behind would wait for its end.
        self._strict |= entry.strict
        self.may_have_prepared = False
        self.served.add(entry.schema)
        self._guard = await self._own_guard(entry)
        # Without it asyncpg refuses conn.transaction(), a savepoint here, in a transaction it did
        # not begin.
        self._top_xact = Transaction(self, entry.isolation, entry.readonly, deferrable=False)

    @property
    def guard(self) -> str | None:
        """The name `Entry.guard` is prepared under; None: it is not, or could have been replaced.

        Asked at the end of the block: one that ran very many statements has driven it out.
        """
        if self._guard is None or self._guard.closed or self.may_have_prepared:
            return None
        return str(self._guard.name)

    @property
    def suspicion(self) -> str:
        """What the way out has to check besides, as an item of a SELECT list."""
        return f", {self.statements_are_ours()}" if self.may_have_prepared else ""

    async def leave(self, sql: str) -> str:
        """Commit and forget by *sql*, in one round trip; return the tag of its last command."""
        # Before the answer: a task left behind may run a statement as soon as the server has given
        # it, and must find nothing that is set over its own note.
        self._clean = not self._tampered
        try:
            tag: str = await super().execute(f"{self._deallocate}{sql}")
        except BaseException:
            self._clean = False
            raise
        self._entry = None
        self._top_xact = None
        return tag

    async def reset(self, *, timeout: float | None = None) -> None:
        """Make the connection fit for the next tenant; the pool calls it at every release.

        Costs nothing after `leave`, a round trip after anything else. Raises what fails, and the
        pool then closes the connection. Rolls back and forgets in one message: behind a pooler the
        server's session is somebody else's as soon as the transaction has ended.
        """
        self._entry = None
        self._top_xact = None
        self._listeners.clear()
        self._log_listeners.clear()
        if self._tampered:
            self.terminate()
        elif not self._clean:
            await super().execute(
                f"ROLLBACK; {FORGET}; {self._deallocate}"
                f"SELECT pg_catalog.pg_advisory_unlock_all(), {reseed()}, "
                f"{self.statements_are_ours()}",
                timeout=timeout,
            )
            self._clean = True

    def statements_are_ours(self) -> str:
        """Return SQL that raises unless asyncpg's statements are as asyncpg made them.

        Their names are visible to the session: one tenant could DEALLOCATE one and PREPARE another
        text under its name, which the next tenant's query would then run.
        """
        names = ",".join(s.name for s in self._stmt_cache.iter_statements() if not s.closed)
        ours = f"{literal(f'{{{names}}}')}::pg_catalog.text[]"
        return (
            "CAST(CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_prepared_statement() WHERE from_sql)"
            f" OR EXISTS (SELECT FROM pg_catalog.unnest({ours}) AS own"
            " WHERE own NOT IN (SELECT name FROM pg_catalog.pg_prepared_statement()))"
            " THEN 'tenancy: prepared statements were tampered with' ELSE '0/0' END"
            " AS pg_catalog.pg_lsn)"
        )

    # Ways to the server. Each notes whether it could have PREPAREd something.

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        """As asyncpg's, but for two texts that it would fail or hang on."""
        if statements.is_empty(query):
            raise ValueError("the text holds no statement")
        if self._strict and not args and not statements.is_asyncpgs_own(query):
            # By the extended protocol, where no second statement can follow the first.
            _, status, _ = await self._execute(query, (), 0, timeout, return_status=True)
            return str(status.decode())
        if not args and statements.copies_from_stdin(query):
            raise ValueError(
                "COPY FROM STDIN: use conn.copy_to_table or conn.copy_records_to_table"
            )
        self._clean = self._untouched = False
        if not args and not (statements.is_plain(query) and ";" not in query):
            self.may_have_prepared = not self._strict
        with lent.told:
            result: str = await super().execute(query, *args, timeout=timeout)
        return result

    async def _get_statement(
        self,
        query: str,
        timeout: float | None,
        *,
        use_cache: bool = True,
        record_class: Any = None,
        ignore_custom_codec: bool = False,
        **kwargs: Any,
    ) -> Any:
        self._clean = self._untouched = False
        if self._strict:
            statements.admit(query)
        elif not statements.is_plain(query):
            self.may_have_prepared = True
        options = {"record_class": record_class, "ignore_custom_codec": ignore_custom_codec}
        entry, shapes = self._entry, self._uses.shapes
        # A cursor never tells that its statement does not fit: it gets a new one each time.
        use_cache = use_cache and not kwargs.get("named")
        if entry is None or not use_cache or not self._stmt_cache_enabled:
            kwargs["use_cache"] = use_cache
            return await super()._get_statement(query, timeout, **options, **kwargs)
        shared_key, own_key = keys(entry.schema, entry.version)
        own, shared = own_key + query, shared_key + query
        kind = (record_class or self._protocol.get_record_class(), ignore_custom_codec)
        statement = self._stmt_cache.get((own, *kind))
        if statement is not None:
            return statement
        if not shapes.has_seen(own) or self._uses.earns_own(query, own, len(self._stmt_cache)):
            statement = await super()._get_statement(own, timeout, **options, **kwargs)
            shapes.see(query, own, shared, _shape(statement, entry.schema))
            return statement
        return self._stmt_cache.get((shared, *kind)) or await super()._get_statement(
            shared, timeout, **options, **kwargs
        )

    async def _own_guard(self, entry: Entry) -> Any:
        if not self._stmt_cache_enabled:
            return None
        own = keys(entry.schema, entry.version)[1] + entry.guard
        statement = self._stmt_cache.get((own, self._protocol.get_record_class(), False))
        if statement is None and self._uses.comes_often(own, len(self._stmt_cache)):
            statement = await super()._get_statement(own, None)
        return statement

    # A cached statement may not fit the tables: for as long as nobody has told us of a migration,
    # and where a tenant's tables were changed by hand. As the block's first statement nothing has
    # run yet: the transaction is begun anew, and nobody notices. Later the error is the block's.

    async def _execute(self, query: str, *args: Any, **kwargs: Any) -> Any:
        untouched = self._untouched
        try:
            return await super()._execute(query, *args, **kwargs)
        except MISFITS:
            if not await self._begins_anew(query, untouched=untouched):
                raise
        return await super()._execute(query, *args, **kwargs)

    async def _executemany(self, query: str, *args: Any, **kwargs: Any) -> Any:
        untouched = self._untouched
        try:
            return await super()._executemany(query, *args, **kwargs)
        except MISFITS:
            if not await self._begins_anew(query, untouched=untouched):
                raise
        return await super()._executemany(query, *args, **kwargs)

    async def _begins_anew(self, misfit: str, *, untouched: bool) -> bool:
        entry = self._entry
        if entry is None:
            return False
        self._uses.shapes.misfit(misfit)
        if untouched:
            await super().execute(f"ROLLBACK; {entry.sql}")
        return untouched

    def _drop_global_statement_cache(self) -> None:
        # asyncpg empties the caches of the whole pool, for one tenant's statement.
        self._drop_local_statement_cache()

    async def _copy_out(self, *args: Any) -> Any:
        self._note_copy()
        return await super()._copy_out(*args)

    async def _copy_in(self, *args: Any) -> Any:
        self._note_copy()
        return await super()._copy_in(*args)

    async def copy_records_to_table(self, *args: Any, **kwargs: Any) -> Any:
        self._note_copy()
        return await super().copy_records_to_table(*args, **kwargs)

    def _note_copy(self) -> None:
        if self._strict:
            statements.admit("COPY")  # which it does not
        self._clean, self._untouched, self.may_have_prepared = False, False, True

    def _get_unique_id(self, prefix: str) -> str:
        # asyncpg counts, so that a tenant could guess the name of another's statement.
        return statements.UNIQUE_NAME.format(prefix, secrets.token_hex(8))

    # What asyncpg keeps on its own side of the wire, and no reset undoes: the connection is closed
    # afterwards. Set codecs once, in Tenancy(connection_init=...).

    async def set_type_codec(self, *args: Any, **kwargs: Any) -> None:
        self._tampered |= self._entry is not None
        await super().set_type_codec(*args, **kwargs)

    async def reset_type_codec(self, *args: Any, **kwargs: Any) -> None:
        self._tampered |= self._entry is not None
        await super().reset_type_codec(*args, **kwargs)

    async def set_builtin_type_codec(self, *args: Any, **kwargs: Any) -> None:
        self._tampered |= self._entry is not None
        await super().set_builtin_type_codec(*args, **kwargs)

    async def prepare(self, query: str, *, name: str | None = None, **kwargs: Any) -> Any:
        # A name of one's own is found by the next tenant, and looks like asyncpg's to the server.
        self._tampered |= self._entry is not None and name is not None
        return await super().prepare(query, name=name, **kwargs)

    def add_query_logger(self, callback: Any) -> None:
        self._tampered |= self._entry is not None
        super().add_query_logger(callback)

    def add_termination_listener(self, callback: Any) -> None:
        self._tampered |= self._entry is not None
        super().add_termination_listener(callback)


def _shape(statement: Any, schema: str) -> Shape | None:
    """Return the types of *statement*; None if one of them lives in *schema*."""
    parameters = statement._get_parameters()
    columns = statement._get_attributes()
    types = (*parameters, *(column.type for column in columns))
    if any(type_.schema == schema for type_ in types):
        return None
    return tuple(p.oid for p in parameters), tuple((c.name, c.type.oid) for c in columns)
