"""Values that can be told apart from everything else, and whose they are. Pure."""

import random
import re
import string
from dataclasses import dataclass
from uuid import UUID

TENANTS = (0, 1)

_LETTERS = "ab"
_ALPHABET = string.digits + string.ascii_lowercase
_SUFFIX_LENGTH = 8
TEXT_LENGTH = len("canary") + 1 + _SUFFIX_LENGTH
_NUMBERS = (1_000_000_000, 2_147_483_647)  # fits an int4, and is no count, year or port

# In SQL and in Python alike.
TEXT_PATTERN = f"canary[{_LETTERS}][0-9a-z]{{{_SUFFIX_LENGTH}}}"
_PATTERN = re.compile(
    rf"(?i){TEXT_PATTERN}"
    r"|(?<![0-9a-f-])[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    r"|(?<![0-9.])[12][0-9]{9}(?![0-9])".encode()
)


@dataclass(frozen=True, slots=True)
class Canary:
    """Where a canary was put.

    Attributes:
        tenant: 0 or 1.
        place: ``table.column`` of a seeded row, or what a request sent it in.
        request: number of the request that sent it; None: it was seeded.
    """

    tenant: int
    place: str
    request: int | None = None


class Canaries:
    """All canaries of one run."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._known: dict[str, Canary] = {}

    def text(self, canary: Canary) -> str:
        """Return a new word of `TEXT_LENGTH` letters and digits that stands for *canary*."""
        suffix = "".join(self._chance.choices(_ALPHABET, k=_SUFFIX_LENGTH))
        return self._made(f"canary{_LETTERS[canary.tenant]}{suffix}", canary)

    def number(self, canary: Canary) -> str:
        """Return a new number of ten digits that stands for *canary*."""
        return self._made(str(self._chance.randint(*_NUMBERS)), canary)

    def uuid(self, canary: Canary) -> str:
        """Return a new UUID that stands for *canary*."""
        return self._made(str(UUID(int=self._chance.getrandbits(128), version=4)), canary)

    def found(self, data: bytes) -> set[Canary]:
        """Return the canaries that *data* holds, in capitals too."""
        words = {match.group().decode().lower() for match in _PATTERN.finditer(data)}
        return {self._known[word] for word in words if word in self._known}

    def of(self, word: str) -> Canary | None:
        """Return what the one canary *word* stands for."""
        return self._known.get(word.lower())

    def _made(self, word: str, canary: Canary) -> str:
        self._known[word] = canary
        return word
