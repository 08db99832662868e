"""Which checkpoints a build serves, as in ``>=0007,<=0009``. Pure."""

import re
from dataclasses import dataclass, field

from tenancy.errors import InvalidVersionsError

_COMPARISON = re.compile(r"\s*(?P<operator>>=|<=|==|>|<)\s*(?P<version>[0-9]{1,30})\s*")
_HOW = "write comparisons separated by commas, such as >=0007 or >=0007,<=0009"


@dataclass(frozen=True, slots=True)
class Versions:
    """A range of checkpoints, both ends in it; None: open. *text* is how it was written.

    Compared as numbers, which is the order of the migrator's files: those of a stage have equally
    many digits.
    """

    first: int | None = None
    last: int | None = None
    text: str = field(default="", compare=False)

    def __contains__(self, version: str | None) -> bool:
        """Whether a schema at *version* can be served; one without any, by an unlimited build only.

        A version that is no number, which the migrator does not write, is in no limited range.
        """
        if self.first is None and self.last is None:
            return True
        if version is None or not (version.isascii() and version.isdigit()):
            return False
        number = int(version)
        return (self.first is None or self.first <= number) and (
            self.last is None or number <= self.last
        )

    def __str__(self) -> str:
        if self.text:
            return self.text
        ends = ((">=", self.first), ("<=", self.last))
        return ",".join(f"{sign}{end}" for sign, end in ends if end is not None) or "all"


ALL = Versions()


def parse(text: str) -> Versions:
    """Return the range that satisfies every comparison of *text*.

    Raises:
        InvalidVersionsError: a part is no comparison, or no version satisfies them all.
    """
    first: int | None = None
    last: int | None = None
    for part in text.split(","):
        match = _COMPARISON.fullmatch(part)
        if match is None:
            raise InvalidVersionsError(f"{part.strip()!r} is no range of versions: {_HOW}")
        operator, number = match["operator"], int(match["version"])
        if operator in {">=", ">", "=="}:
            at_least = number + (operator == ">")
            first = at_least if first is None else max(first, at_least)
        if operator in {"<=", "<", "=="}:
            at_most = number - (operator == "<")
            last = at_most if last is None else min(last, at_most)
    if last is not None and (last < 0 or (first is not None and first > last)):
        raise InvalidVersionsError(f"no version is within {text!r}: {_HOW}")
    return Versions(first, last, "".join(text.split()))
