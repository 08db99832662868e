"""Whether the server is known to be away: then one request asks for it, and no other waits.

Without this each request of an outage would wait for its whole deadline where packets are lost, and
those that came in the meantime would wait behind it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from tenancy.errors import DatabaseSetupError, DatabaseUnavailableError

ASK_AGAIN_SECONDS = 0.25
ASKING_SECONDS = 2.0  # where packets were lost, a new attempt is answered sooner than an old one


class Outage:
    """An outage as one process sees it; there is none at first.

    Attributes:
        is_on: whether the server did not answer when it was last asked for a connection.
    """

    def __init__(self) -> None:
        self.is_on = False
        self._asking = False
        self._ask_again_at = 0.0

    def begin(self, *, refused: bool) -> None:
        """Remember that there is no answer, or that a connection was *refused*, which is quick."""
        self.is_on = True
        if refused:
            self._ask_again_at = asyncio.get_running_loop().time() + ASK_AGAIN_SECONDS

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Try to connect in the block, as the only one; the outage is over if that succeeds.

        Raises:
            DatabaseUnavailableError: another one tries, or has just tried.
        """
        if self._asking or asyncio.get_running_loop().time() < self._ask_again_at:
            raise DatabaseUnavailableError(
                "the database did not answer a moment ago: see whether it runs"
            )
        self._asking = True
        try:
            yield
        except DatabaseSetupError:
            self.is_on = False  # that was an answer
            raise
        else:
            self.is_on = False
        finally:
            self._asking = False
