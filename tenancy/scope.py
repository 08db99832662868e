"""What one transaction may see, and the SQL that holds it there: the gate's words."""

import secrets
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from tenancy.connection import FORGET, reseed
from tenancy.identifiers import literal, quoted
from tenancy.pool import Entry

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
        shape, strict: version of the tables, and what may be run on them; see `pool.Entry`.
        marker: new in every transaction, so that a block's own ``COMMIT; BEGIN`` is noticed.
    """

    schemas: tuple[str, ...]
    role: str | None = None
    readonly: bool = False
    isolation: IsolationLevel | None = None
    shape: str = ""
    strict: bool = False
    marker: str = field(default_factory=lambda: secrets.token_hex(8))

    def entry(self) -> Entry:
        """The way in."""
        mode = f"{_LEVELS[self.isolation]}{' READ ONLY' if self.readonly else ''}"
        sql = f"BEGIN{mode}; {_entry(self.schemas, self.role)}{literal(self.marker)}"
        return Entry(sql, self.readonly, self.isolation, self.shape, self.strict)

    def exit(self, also: str = "") -> str:
        """The way out: it fails, and so undoes everything, unless the scope is as it was entered.

        Deferred triggers run first, still inside the scope. In a transaction that has failed that
        first statement raises; a plain COMMIT would answer ROLLBACK, and no error.

        Args:
            also: a further check, as an item of a SELECT list with its comma.
        """
        mode = "on" if self.readonly else "off"
        guard = f"{_guard(self.schemas, self.role, mode)}{literal(self.marker)}"
        return (
            f"SET CONSTRAINTS ALL IMMEDIATE; {guard}"
            " THEN '0/0' ELSE 'tenancy: the scope was left' END AS pg_catalog.pg_lsn),"
            f" pg_catalog.pg_advisory_unlock_all(), {reseed()}{also}; {FORGET}; COMMIT"
        )


@lru_cache(maxsize=10_000)
def _entry(schemas: tuple[str, ...], role: str | None) -> str:
    """Return what follows BEGIN, up to the marker."""
    path = ", ".join((*map(quoted, schemas), "pg_temp"))
    become = f"SET LOCAL ROLE {quoted(role)}; " if role else ""
    return f"SET LOCAL search_path = {path}; {become}SET LOCAL tenancy.scope = "


@lru_cache(maxsize=10_000)
def _guard(schemas: tuple[str, ...], role: str | None, readonly: str) -> str:
    """Return the beginning of the guard, up to the marker.

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
        f" OPERATOR(pg_catalog.=) text {literal(readonly)}"
        " AND pg_catalog.current_setting('tenancy.scope', true) OPERATOR(pg_catalog.=) text "
    )
