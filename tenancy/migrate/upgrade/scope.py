"""Where a file runs: path, timeouts, role; and the check by which the server ends it if it left."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from tenancy.identifiers import constant, literal, quoted
from tenancy.migrate.files.directives import Directives
from tenancy.migrate.files.model import Stage
from tenancy.migrate.ledger.records import SchemaRef

# In milliseconds. Short, because every query of a tenant waits behind an ALTER that waits.
LOCK_TIMEOUT = 2_000
STATEMENT_TIMEOUT = 600_000

# What the check can find, by the number that its error carries; the last one is no fault.
LEFT = (
    "the file ended the migrator's transaction; a part of it may have stayed: look at the schema",
    "the file left another search_path than it was given: set it back before the end",
    "the file left another role than it was given: set it back before the end",
    "the schema is not there any more",
)
UNMOVED = len(LEFT)


@dataclass(frozen=True, slots=True)
class Scope:
    """Where one file runs in one schema.

    Attributes:
        role: who runs it, before and after.
        marker: lives as long as the file's transaction; the file cannot know it.
    """

    schema: SchemaRef
    stage: Stage
    shared: str
    role: str
    marker: str = field(default_factory=lambda: secrets.token_hex(8))

    def local(self, directives: Directives) -> list[str]:
        """Return the SQL that begins the scope, in an open transaction and until its end."""
        lock, statement = timeouts(directives)
        return [
            f"SET LOCAL search_path = {self._path(quote=True)}",
            f"SET LOCAL lock_timeout = {lock:d}",
            f"SET LOCAL statement_timeout = {statement:d}",
            f"SET LOCAL tenancy.scope = {literal(self.marker)}",
        ]

    def session(self) -> list[str]:
        """Return the SQL that begins it outside of transactions, until the session is reset."""
        return [
            f"SET search_path = {self._path(quote=True)}",
            f"SET tenancy.scope = {literal(self.marker)}",
        ]

    def check(self, *queries: str, true: Sequence[str] = ()) -> str:
        """Return SQL that fails unless the scope is whole and each of *queries* finds a row.

        Operators are qualified: the path is the schema's. What it finds, the server can tell in an
        error only, because a simple query answers nothing: `fault` reads it.

        Args:
            queries: SELECT, or a change RETURNING something.
            true: conditions that have to be true too; evaluated last.
        """
        named = {f"q{number}": query for number, query in enumerate(queries)}
        ctes = ", ".join(f"{name} AS ({query})" for name, query in named.items())
        marker, role, oid = literal(self.marker), constant(self.role), self.schema.oid
        path = "pg_catalog.replace(pg_catalog.current_setting('search_path'), '\"', '')"
        this = f"pg_catalog.to_regnamespace({literal(self.schema.name)})::pg_catalog.oid"
        conditions = [
            f"pg_catalog.current_setting('tenancy.scope', true) IS DISTINCT FROM {marker}",
            f"{path} OPERATOR(pg_catalog.<>) {literal(self._path(quote=False))}",
            f"current_user::pg_catalog.text OPERATOR(pg_catalog.<>) {role}",
            f"({this} OPERATOR(pg_catalog.=) {oid:d}::pg_catalog.oid) IS NOT TRUE",
            *(f"NOT EXISTS (SELECT FROM {name})" for name in named),
            *(f"NOT {condition}" for condition in true),
        ]
        cases = " ".join(
            f"WHEN {condition} THEN {literal(f'{self.marker}:{number}')}"
            for number, condition in enumerate(conditions)
        )
        return (
            f"{f'WITH {ctes} ' if ctes else ''}"
            f"SELECT CAST(CASE {cases} ELSE '0' END AS pg_catalog.int4)"
        )

    def fault(self, error: BaseException) -> int | None:
        """Return the number of what `check` found, if *error* is its; see `LEFT`."""
        _, found, rest = str(error).partition(f'"{self.marker}:')
        return int(rest.partition('"')[0]) if found else None

    def _path(self, *, quote: bool) -> str:
        readable = [self.shared] if self.stage is Stage.TENANT else []
        names = [self.schema.name, *readable]
        # Last, or a temporary table would hide the schema's own.
        return ", ".join([*(map(quoted, names) if quote else names), "pg_temp"])


def timeouts(directives: Directives) -> tuple[int, int]:
    """Return the lock's and the statement's timeout in milliseconds; 0: none."""
    lock, statement = directives.lock_timeout, directives.statement_timeout
    return (
        LOCK_TIMEOUT if lock is None else lock,
        STATEMENT_TIMEOUT if statement is None else statement,
    )
