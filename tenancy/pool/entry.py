"""How a transaction begins, and what a session forgets after it. Pure."""

import random
from dataclasses import dataclass

# Everything a session can remember, as utility statements where there is one: they cost the server
# a few microseconds each, a SELECT tens.
FORGET = (
    "CLOSE ALL; UNLISTEN *; DISCARD TEMP; DISCARD SEQUENCES; "
    "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """How a transaction begins.

    Attributes:
        sql: the whole way in, one message.
        schema: whose statements these are.
        version: of that schema's tables; None: unknown.
        readonly, isolation: what *sql* says of them, for asyncpg's savepoints.
        guard: what the way out will check, for the server to plan once.
        max_connections: how many the tenant may hold; None: its share.
        strict: only what `statements.admit` lets through is run, one statement at a time.
    """

    sql: str
    schema: str
    version: str | None = None
    readonly: bool = False
    isolation: str | None = None
    guard: str = ""
    max_connections: int | None = None
    strict: bool = False


def reseed() -> str:
    """Return SQL after which random() no longer follows the seed that a tenant has set."""
    return f"pg_catalog.setseed({random.random():.12f})"  # noqa: S311 - PostgreSQL's is no secret
