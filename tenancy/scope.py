"""The gate's words: what one transaction may see, as SQL."""

import secrets
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from tenancy.identifiers import literal, quoted
from tenancy.pool.entry import FORGET, Entry, reseed
from tenancy.settings import Isolation, Settings, milliseconds
from tenancy.tenant import State, Tenant

IsolationLevel = Literal["read_committed", "repeatable_read", "serializable"]

_LEVELS: dict[IsolationLevel | None, str] = {
    None: "",
    "read_committed": " ISOLATION LEVEL READ COMMITTED",
    "repeatable_read": " ISOLATION LEVEL REPEATABLE READ",
    "serializable": " ISOLATION LEVEL SERIALIZABLE",
}


@dataclass(frozen=True, slots=True)
class Scope:
    """What one transaction may see, and the SQL that holds it there.

    Attributes:
        schemas: the search path, first one first. ``pg_temp`` is put behind them: without it a
            temporary table is found before a table of the tenant.
        role: whom to be inside; None: the login itself, as at level ``schema``.
        readonly: the server refuses writes.
        isolation: of the transaction; None: the server's default.
        version, strict: of the first schema's tables, and what may be run; see `pool.entry.Entry`.
        statement_timeout_seconds: of each statement; None: the session's own.
        max_connections: how many the tenant may hold; None: its share.
        marker: new in every transaction, so that a block's own ``COMMIT; BEGIN`` is noticed.
    """

    schemas: tuple[str, ...]
    role: str | None = None
    readonly: bool = False
    isolation: IsolationLevel | None = None
    version: str | None = None
    statement_timeout_seconds: float | None = None
    max_connections: int | None = None
    strict: bool = False
    marker: str = field(default_factory=lambda: secrets.token_hex(8))

    def entry(self) -> Entry:
        """The way in."""
        # CLOSE ALL takes the snapshot, after which nobody makes the transaction read-write again.
        mode = f"{_LEVELS[self.isolation]}{' READ ONLY; CLOSE ALL' if self.readonly else ''}"
        way_in = _entry(self.schemas, self.role, self.statement_timeout_seconds)
        return Entry(
            sql=f"BEGIN{mode}; {way_in}{literal(self.marker)}",
            schema=self.schemas[0],
            version=self.version,
            readonly=self.readonly,
            isolation=self.isolation,
            guard=_prepared_guard(self.schemas, self.role),
            max_connections=self.max_connections,
            strict=self.strict,
        )

    def exit(self, prepared: str | None = None, also: str = "") -> str:
        """The way out: it fails, and so undoes everything, unless the scope is as it was entered.

        Deferred triggers run first, still inside the scope. In a transaction that has failed that
        first statement raises; a plain COMMIT would answer ROLLBACK, and no error.

        Args:
            prepared: the statement that `Entry.guard` is prepared under, where it is.
            also: a further check, where it is not: an item of a SELECT list with its comma.
        """
        readonly = "on" if self.readonly else "off"
        if prepared is not None:
            seed = literal(secrets.token_hex(8))
            guard = f'EXECUTE "{prepared}" ({literal(self.marker)}, {literal(readonly)}, {seed})'
        else:
            typed = f"text {literal(self.marker)}", f"text {literal(readonly)}"
            guard = _guard(self.schemas, self.role, *typed, reseed()) + also
        return f"SET CONSTRAINTS ALL IMMEDIATE; {guard}; {FORGET}; COMMIT"


def of_tenant(
    whose: Tenant, settings: Settings, *, readonly: bool, isolation: IsolationLevel | None
) -> Scope:
    """Return the scope of a tenant: its own schema, the shared one behind it, and its role."""
    return Scope(
        schemas=(whose.schema, settings.shared_schema),
        role=whose.schema if settings.isolation.sets_role else None,
        readonly=readonly or whose.state is State.READ_ONLY,
        isolation=isolation,
        version=whose.version,
        statement_timeout_seconds=whose.limits.timeout_below(settings.statement_timeout_seconds),
        max_connections=whose.limits.max_connections,
        strict=settings.isolation is Isolation.STRICT,
    )


def shared(settings: Settings) -> Scope:
    """Return the scope of the shared schema alone, with the login's own rights and no tenant."""
    strict = settings.isolation is Isolation.STRICT
    return Scope((settings.shared_schema,), readonly=True, strict=strict)


@lru_cache(maxsize=10_000)
def _entry(schemas: tuple[str, ...], role: str | None, timeout_seconds: float | None) -> str:
    """Return what follows BEGIN, up to the marker."""
    path = ", ".join((*map(quoted, schemas), "pg_temp"))
    become = f"SET LOCAL ROLE {quoted(role)}; " if role else ""
    # A number, not a text: what is in the registry's row never reaches SQL as it is.
    timeout = "" if timeout_seconds is None else milliseconds(timeout_seconds)
    limit = f"SET LOCAL statement_timeout = {timeout}; " if timeout else ""
    return f"SET LOCAL search_path = {path}; {limit}{become}SET LOCAL tenancy.scope = "


@lru_cache(maxsize=10_000)
def _prepared_guard(schemas: tuple[str, ...], role: str | None) -> str:
    # PostgreSQL's random() goes on from here; a tenant knows its marker, and not this.
    seed = (
        "pg_catalog.setseed(CAST(pg_catalog.hashtext(CAST($3 AS text)) AS float8)"
        " OPERATOR(pg_catalog./) float8 '2147483648')"
    )
    return _guard(schemas, role, "CAST($1 AS text)", "CAST($2 AS text)", seed)


def _guard(
    schemas: tuple[str, ...], role: str | None, marker: str, readonly: str, seed: str
) -> str:
    """Return a query that raises unless path, role, marker and access mode are as they were set.

    Every constant is typed and every name qualified: resolving an untyped one costs the server
    more than the rest of the guard, and a path that a block has changed must not choose operators.
    """
    path = literal(", ".join((*schemas, "pg_temp")))
    whoever = f"name {literal(role)}" if role else "session_user"
    return (
        "SELECT CAST(CASE WHEN"
        f" pg_catalog.current_setting('search_path') OPERATOR(pg_catalog.=) text {path}"
        f" AND current_user OPERATOR(pg_catalog.=) {whoever}"
        " AND pg_catalog.current_setting('transaction_read_only')"
        f" OPERATOR(pg_catalog.=) {readonly}"
        f" AND pg_catalog.current_setting('tenancy.scope', true) OPERATOR(pg_catalog.=) {marker}"
        " THEN '0/0' ELSE 'tenancy: the scope was left' END AS pg_catalog.pg_lsn),"
        f" pg_catalog.pg_advisory_unlock_all(), {seed}"
    )
