"""On whose behalf a step is taken, and from where: what the audit says of it."""

import getpass
import socket
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever takes a step.

    Attributes:
        name: an account of the machine, a token's name, a token's subject.
        source: the machine, or the client's address.
    """

    name: str
    source: str

    @classmethod
    def of_process(cls) -> Self:
        """Return the account that this process runs as, on this machine."""
        try:
            name = getpass.getuser()
        except (KeyError, OSError):  # an account without a name, as in some containers
            name = "unknown"
        return cls(name, socket.gethostname())
