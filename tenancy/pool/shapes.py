"""Which tenants may share a prepared statement: those whose tables have one shape.

asyncpg caches statements by their text alone, and over tenants that is wrong where the tables
differ: a result of another shape fails, and a parameter of a type in one tenant's schema does not
fit another's. So a statement is cached under a key in front of its text: the schema's version,
which tenants at one checkpoint share, or the schema itself.

Versions are not believed blindly: a tenant's first use of a text in this process prepares it for
the tenant alone, and what the server says of its parameters and columns is compared with what it
said for others. Where that differs nobody shares the text: a parameter sent as another tenant's
type could be rounded or cut without an error.

A shared statement costs the server a new plan whenever the tenant changes, about 0.1 ms for a small
query; one of the tenant's own costs a round trip the first time, and memory on both sides. ``auto``
gives a tenant its own after a few uses on one connection, while there is room.
tests/benchmarks/statements.py measures the choices.
"""

import math
import time
from dataclasses import dataclass, field
from functools import lru_cache

from tenancy.settings import StatementCache

APART_SECONDS = 60.0
USES_BEFORE_OWN = 3
SHARED_ROOM = 100  # places of the cache that are left to shared statements
MAX_REMEMBERED = 10_000
MAX_SEEN = 500_000  # some 40 MB

# Parameters and columns of a statement, by the oids of their types.
Shape = tuple[tuple[int, ...], tuple[tuple[str, int], ...]]

_NOTHING_OWN = (StatementCache.VERSION, StatementCache.OFF)


@dataclass(frozen=True, slots=True)
class _Apart:
    until: float  # monotonic time
    times: int = 0


@dataclass(slots=True)
class Shapes:
    """What one pool knows of its statements.

    Attributes:
        choice: see `settings.StatementCache`.
        capacity: statements that one connection keeps.
    """

    choice: StatementCache
    capacity: int
    _apart: dict[str, _Apart] = field(default_factory=dict)
    _shapes: dict[str, Shape] = field(default_factory=dict)  # by shared key
    _seen: set[int] = field(default_factory=set)  # hashes of own keys

    def has_seen(self, own_key: str) -> bool:
        """Whether the tenant of *own_key* has run that text, so that its shape is known."""
        return hash(own_key) in self._seen

    def see(self, text: str, own_key: str, shared_key: str, shape: Shape | None) -> None:
        """Compare the *shape* of *text* for one more tenant with that for others.

        Args:
            text: the statement.
            own_key: what it is cached under for this tenant,
            shared_key: and for all tenants at its version.
            shape: its types; None: some are this tenant's own, and fit nobody else.
        """
        if shape is None or self._shapes.setdefault(shared_key, shape) != shape:
            self._remember(text, _Apart(math.inf))
        for memory in (self._seen, self._shapes):
            if len(memory) >= MAX_SEEN:
                memory.clear()
        self._seen.add(hash(own_key))

    def misfit(self, text: str) -> None:
        """Cache *text* apart for a while: it met tables that a migration has just changed.

        Longer each time, because where tables were changed by hand it goes on happening.
        """
        before = self._apart.get(text)
        times = before.times + 1 if before is not None else 0
        self._remember(text, _Apart(time.monotonic() + APART_SECONDS * 4**times, times))

    def is_apart(self, text: str) -> bool:
        """Whether *text* is cached for each tenant apart."""
        apart = self._apart.get(text)
        return apart is not None and apart.until > time.monotonic()

    def _remember(self, text: str, apart: _Apart) -> None:
        if len(self._apart) >= MAX_REMEMBERED:
            self._apart.clear()
        self._apart[text] = apart


class Uses:
    """How often one connection has run a statement for a tenant that shares it."""

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = shapes
        self._counts: dict[str, int] = {}

    def earns_own(self, text: str, own_key: str, cached: int) -> bool:
        """Whether *text* is to be cached under *own_key* beside *cached* other statements."""
        if self.shapes.choice is StatementCache.TENANT or self.shapes.is_apart(text):
            return True
        return self.comes_often(own_key, cached)

    def comes_often(self, own_key: str, cached: int) -> bool:
        """Count a use of *own_key*; whether it has earned a place beside *cached* others."""
        if self.shapes.choice in _NOTHING_OWN or cached >= self.shapes.capacity - SHARED_ROOM:
            return False
        count = self._counts.get(own_key, 0) + 1
        if count > USES_BEFORE_OWN:
            self._counts.pop(own_key, None)
            return True
        if len(self._counts) >= MAX_REMEMBERED:
            self._counts.clear()
        self._counts[own_key] = count
        return False


@lru_cache(maxsize=MAX_REMEMBERED)
def keys(schema: str, version: str | None) -> tuple[str, str]:
    """Return what stands before a text in the cache: shared by the version, and the schema's own.

    Tables of an unknown version share with nobody.
    """
    mark = version if version is not None and version.isalnum() else None
    own = f"/*{schema} {mark or '-'}*/ "
    return (f"/*{mark}*/ " if mark else own), own
