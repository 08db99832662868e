"""What a leak check found, what it looked at, and what it did not. Pure."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tenancy.errors import LeakFoundError, NothingCheckedError
from tenancy.exits import Exit


class Kind(StrEnum):
    """What crossed, or may."""

    ANSWER = "another tenant's data in an answer"
    WRITE = "a write in another tenant's rows"
    LOST = "another tenant's data gone or changed"
    KEPT = "a write kept although its request failed"
    STATE = "state left on a connection"
    VALIDATOR = "one ETag for two tenants' different answers"


@dataclass(slots=True)
class Finding:
    """Something that crossed.

    Attributes:
        request: the one that did it: number, method, path, tenant, and what was done to it.
        what: which canary of which table and column where, or which state: expected and found.
        previous: requests before it on the same connection, the latest one last.
        times: how often the same was seen; the request is the first one's.
    """

    kind: Kind
    request: str
    what: str
    previous: tuple[str, ...] = ()
    times: int = 1

    def as_json(self) -> dict[str, Any]:
        """Members for a JSON document."""
        return {
            "kind": self.kind.name.lower(),
            "request": self.request,
            "what": self.what,
            "previous": list(self.previous),
            "times": self.times,
        }


@dataclass(slots=True)
class Coverage:
    """How one view answered: statuses by tenant, and whether it showed rows of its own tenant."""

    statuses: tuple[Counter[str], Counter[str]] = field(
        default_factory=lambda: (Counter(), Counter())
    )
    good: set[int] = field(default_factory=set)
    showed_rows: bool = False

    @property
    def is_covered(self) -> bool:
        """Whether it did for each tenant, at least once, what it is for."""
        return self.good == {0, 1}

    def __str__(self) -> str:
        total = self.statuses[0] + self.statuses[1]
        return ", ".join(f"{status} x{n}" for status, n in sorted(total.items())) or "not asked"


@dataclass(slots=True)
class Report:
    """The outcome of one run.

    Attributes:
        seed: runs the same requests again.
        requests: how many were sent.
        tables: names of those that hold rows of both tenants.
        unfilled: other tables, and why.
        views: by ``METHOD /path``.
        uncovered: what was not asked at all, such as websockets, and why.
        connections: of the application's that were watched.
        looks: how often one of them was looked at between requests.
        witnessed: canaries of the right tenant, in answers and in rows written.
        skipped: phases left out.
        cut_short: why not all requests were sent; empty: they were.
        all_views: every view must be covered.
    """

    seed: int
    requests: int = 0
    tables: list[str] = field(default_factory=list)
    unfilled: dict[str, str] = field(default_factory=dict)
    views: dict[str, Coverage] = field(default_factory=dict)
    uncovered: dict[str, str] = field(default_factory=dict)
    connections: int = 0
    looks: int = 0
    redirected: int = 0
    witnessed: int = 0
    skipped: list[str] = field(default_factory=list)
    cut_short: str = ""
    all_views: bool = False
    findings: list[Finding] = field(default_factory=list)

    @property
    def covered(self) -> list[str]:
        """Names of the views that answered both tenants well."""
        return [name for name, coverage in self.views.items() if coverage.is_covered]

    @property
    def gap(self) -> str:
        """Why the run cannot be called clean although it found nothing; empty: it can."""
        if not self.covered:
            return "no view answered both tenants well: see the statuses, and --host and --header"
        if not self.witnessed:
            return (
                "no answer and no written row held a canary of its own tenant, so that none of "
                "another's could have been told apart: see the tables that were not filled"
            )
        missing = len(self.views) - len(self.covered) + len(self.uncovered)
        if self.all_views and missing:
            return f"{missing} views are not covered, and --all-views asks for all"
        return ""

    @property
    def is_clean(self) -> bool:
        """Whether something was checked and nothing crossed."""
        return not self.findings and not self.gap

    @property
    def exit_code(self) -> Exit:
        """How the command ends."""
        if self.findings:
            return Exit.LEAK
        return Exit.UNCHECKED if self.gap else Exit.CURRENT

    def raise_for_leaks(self) -> None:
        """Raise unless the application is clean.

        Raises:
            LeakFoundError: something crossed; the message is the report.
            NothingCheckedError: nothing crossed because nothing, or too little, was checked.
        """
        if self.findings:
            raise LeakFoundError("\n".join(self.lines()))
        if self.gap:
            raise NothingCheckedError("\n".join(self.lines()))

    def as_json(self) -> dict[str, Any]:
        """Members for a JSON document."""
        return {
            "clean": self.is_clean,
            "exit_code": int(self.exit_code),
            "gap": self.gap,
            "seed": self.seed,
            "requests": self.requests,
            "findings": [finding.as_json() for finding in self.findings],
            "views": {
                name: {
                    "covered": coverage.is_covered,
                    "showed_rows": coverage.showed_rows,
                    "statuses": [dict(statuses) for statuses in coverage.statuses],
                }
                for name, coverage in self.views.items()
            },
            "uncovered": self.uncovered,
            "tables": self.tables,
            "unfilled": self.unfilled,
            "connections": self.connections,
            "looks": self.looks,
            "redirected": self.redirected,
            "witnessed": self.witnessed,
            "skipped": self.skipped,
            "cut_short": self.cut_short,
        }

    def lines(self) -> Iterator[str]:
        """The report in words."""
        for number, finding in enumerate(self.findings, 1):
            yield f"LEAK {number}: {finding.kind}"
            yield f"  request   {finding.request}"
            yield f"  crossed   {finding.what}"
            for text in finding.previous:
                yield f"  before it {text}"
            if finding.times > 1:
                yield f"  seen      {finding.times} times"
            yield ""
        yield from self._coverage()
        yield ""
        yield self._verdict()

    def _coverage(self) -> Iterator[str]:
        yield f"requests    {self.requests}, seed {self.seed}"
        yield f"tables      {len(self.tables)} with canaries: {', '.join(self.tables) or 'none'}"
        for name, why in self.unfilled.items():
            yield f"  not filled  {name}: {why}"
        yield f"views       {len(self.covered)} of {len(self.views) + len(self.uncovered)} covered"
        for name, coverage in self.views.items():
            if not coverage.is_covered:
                yield f"  not covered {name}: answered {coverage}"
        for name, why in self.uncovered.items():
            yield f"  not covered {name}: {why}"
        yield f"connections {self.connections} watched, {self.looks} looks between requests"
        if not self.looks:
            yield "  not looked  no connection of asyncpg's was used: state was not checked"
        if self.redirected:
            yield f"  redirected  {self.redirected} to the throw-away database"
        if self.skipped:
            yield f"skipped     {', '.join(self.skipped)}"
        if self.cut_short:
            yield f"cut short   {self.cut_short}"

    def _verdict(self) -> str:
        if self.findings:
            found = "1 leak" if len(self.findings) == 1 else f"{len(self.findings)} leaks"
            return f"{found} found; run again with --seed {self.seed}"
        return f"NOT CHECKED: {self.gap}" if self.gap else "clean: nothing crossed"
