"""How many requests a token or an address may send. Pure; the caller has the clock.

The generic cell rate algorithm: one number per name, the time at which all that it has sent would
be due at its rate. A name that sends nothing for `BURST_SECONDS` is as good as one never seen.
"""

import ipaddress

BURST_SECONDS = 5.0
MAX_NAMES = 10_000
MAX_FORGOTTEN = 1000
IPV6_SITE_BITS = 64  # one subscriber has all of them (RFC 6177)


class Rates:
    """Lets each name send *per_second* in the long run, and five seconds' worth at once."""

    def __init__(self, per_second: float) -> None:
        self._seconds_each = 1 / per_second
        self._due: dict[str, float] = {}

    def take(self, name: str, now: float, cost: float = 1.0) -> float:
        """Count a request of *name* at *now*; return how many seconds it comes too early, or 0.

        One that comes too early is not counted.

        Args:
            name: of a token or an address.
            now: in seconds of a clock that never goes back.
            cost: how many requests it is worth.
        """
        due = max(self._due.get(name, now), now) + cost * self._seconds_each
        burst = max(BURST_SECONDS, self._seconds_each)
        early = due - now - burst
        if early > 1e-9:  # noqa: PLR2004 - as floats add up
            return early
        if name not in self._due and len(self._due) >= MAX_NAMES:
            self._forget(now)
        self._due[name] = due
        return 0.0

    def charge(self, name: str, now: float, cost: float) -> None:
        """Let *name* wait longer for what it sends next, by what *cost* requests are worth."""
        burst = max(BURST_SECONDS, self._seconds_each)
        due = max(self._due.get(name, now), now) + cost * self._seconds_each
        self._due[name] = min(due, now + burst)

    def _forget(self, now: float) -> None:
        """Make room: those that owe nothing first, then those seen first."""
        self._due = {name: due for name, due in self._due.items() if due > now}
        if len(self._due) >= MAX_NAMES:
            for name in list(self._due)[:MAX_FORGOTTEN]:  # many: looking through them all costs
                del self._due[name]


def source(client: object) -> str:
    """Return by what name the requests of an ASGI scope's *client* are counted."""
    host = client[0] if isinstance(client, list | tuple) and client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "local"  # by a socket of the file system
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, IPV6_SITE_BITS), strict=False))
    return str(address)
