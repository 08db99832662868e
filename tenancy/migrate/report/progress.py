"""How far a run has come, from its events; pure."""

from dataclasses import dataclass, field

from tenancy.migrate.report.events import (
    Backfilling,
    Begun,
    Finished,
    RunEvent,
    Waiting,
    WaveBegun,
    WaveEnded,
)

LONG_SECONDS = 5.0


@dataclass(slots=True)
class Flight:
    """A schema whose upgrade is under way."""

    name: str
    since: float
    words: str = ""


@dataclass(slots=True)
class Progress:
    """What has been done, and what is under way; times are of one clock, in seconds."""

    started: float
    done: int = 0
    failed: int = 0
    left: int = 0
    wave: str = ""
    flights: dict[str, Flight] = field(default_factory=dict)

    def observe(self, event: RunEvent, now: float) -> None:
        """Take *event* into account."""
        match event:
            case WaveBegun(number, schemas):
                of = "1 schema" if schemas == 1 else f"{schemas} schemas"
                self.wave = ("canary" if number == 0 else f"wave {number}") + f", {of}"
            case WaveEnded(number, _failed, _seconds, soak) if soak:
                self.wave = f"soaking for {soak:g} s"
            case Begun(_stage, schema, tenant):
                self.flights[schema] = Flight(tenant or schema, now)
            case Waiting(schema, seconds, blocker):
                self._say(schema, f"waits for {blocker} since {seconds:.0f} s", now)
            case Backfilling(schema, name, done, total):
                of = f" of {total}" if total is not None else ""
                self._say(schema, f"backfill {name}, {done}{of} rows", now)
            case Finished(result, left):
                self.flights.pop(result.schema, None)
                self.done += 1
                self.failed += result.faulty
                self.left = left

    def rate(self, now: float) -> float:
        """Return schemas per second so far."""
        return self.done / max(now - self.started, 0.001)

    def seconds_left(self, now: float) -> float | None:
        """Return how long it will take at this rate; None: nobody knows."""
        return self.left / self.rate(now) if self.done else None

    def slow(self, now: float, most: int = 3) -> list[str]:
        """Return those under way for long, the longest first, and what they wait for."""
        late = [one for one in self.flights.values() if now - one.since >= LONG_SECONDS]
        late.sort(key=lambda one: one.since)
        return [
            f"{one.name} for {now - one.since:.0f} s{': ' if one.words else ''}{one.words}"
            for one in late[:most]
        ]

    def line(self, now: float) -> str:
        """Return all of it in one line."""
        parts = [f"{self.done} done", f"{self.failed} failed", f"{self.left} left"]
        if self.done:
            parts.append(f"{self.rate(now):.1f}/s")
        seconds = self.seconds_left(now)
        if seconds is not None and self.left:
            parts.append(f"{seconds:.0f} s to go")
        wave = f"{self.wave}: " if self.wave else ""
        return "; ".join([wave + ", ".join(parts), *self.slow(now)])

    def _say(self, schema: str, words: str, now: float) -> None:
        self.flights.setdefault(schema, Flight(schema, now)).words = words
