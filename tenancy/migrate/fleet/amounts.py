"""How many schemas are meant by `3` and by `5%`; pure."""

import re
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Self

_WRITTEN = re.compile(r"(?P<number>[0-9]{1,9}(\.[0-9]{1,6})?)(?P<percent>%?)")


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of schemas, or a share of all of them."""

    number: Fraction
    percent: bool

    @classmethod
    def parse(cls, written: str | int) -> Self:
        """Return what is written as ``3`` or ``5%``.

        Raises:
            ValueError: it is neither, or a share over 100 %.
        """
        match = _WRITTEN.fullmatch(str(written).strip())
        whole = match is not None and (bool(match["percent"]) or "." not in match["number"])
        if match is None or not whole:
            raise ValueError(f"{str(written)!r} is neither a number nor a share: write 3 or 5%")
        amount = cls(Fraction(match["number"]), bool(match["percent"]))
        if amount.percent and amount.number > 100:  # noqa: PLR2004 - per cent
            raise ValueError(f"{written!r} is more than all: write at most 100%")
        return amount

    def rounded_up(self, total: int) -> int:
        """Return how many of *total* it is, and none of none: a share of some is at least one."""
        return min(total, ceil(self._of(total)))

    def rounded_down(self, total: int) -> int:
        """Return the highest number of *total* that is not more than it."""
        return min(total, int(self._of(total)))

    def _of(self, total: int) -> Fraction:
        return self.number * total / 100 if self.percent else self.number
