"""A token bucket: so many at once, so many a second. Pure; the caller has the clock."""


class Bucket:
    """Lets through *per_second* in the long run, and up to a second's worth at once."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._size = max(per_second, 1.0)
        self._tokens = self._size
        self._at = float("-inf")

    def take(self, now: float) -> bool:
        """Whether one more may pass at *now*, in seconds of a clock that never goes back."""
        self._tokens = min(self._size, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
