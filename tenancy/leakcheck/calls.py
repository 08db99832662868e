"""One request of a leak check: what is sent, what is done to it on its way, what came back."""

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum

NO_ANSWER = "no answer within"


class Event(StrEnum):
    """What is done to a request."""

    NONE = ""
    HANG_UP = "the client hangs up"
    CANCEL = "the server cancels it"
    ERROR = "a statement fails"
    PLANT = "planted"


@dataclass(frozen=True, slots=True)
class Ordeal:
    """What is done to a request, and when.

    Attributes:
        at: number of the database call, from 1, at which it happens.
        plant: what a view, a library or injected SQL leaves behind on the connection.
    """

    event: Event = Event.NONE
    at: int = 0
    plant: str = ""

    def __str__(self) -> str:
        if self.event is Event.NONE:
            return ""
        what = f"{self.plant} planted" if self.event is Event.PLANT else str(self.event)
        return f"{what} at database call {self.at}"


@dataclass(slots=True, eq=False)
class Call:
    """One request.

    Attributes:
        view: the operation it belongs to, ``METHOD /path/{parameter}``.
        target: path and query, as sent.
        words: canaries that it sends.
        statements: database calls it has made.
        connections: numbers of the connections it used.
        failed_inside: its write was made to fail inside an open transaction.
        hung_up: set when the client has gone.
    """

    number: int
    tenant: int
    tenant_name: str
    view: str
    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    ordeal: Ordeal = field(default_factory=Ordeal)
    words: set[str] = field(default_factory=set)
    statements: int = 0
    happened: bool = False
    connections: list[int] = field(default_factory=list)
    failed_inside: bool = False
    busy: bool = False
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None

    def __str__(self) -> str:
        ordeal = f" ({self.ordeal})" if self.happened else ""
        return f"#{self.number} {self.method} {self.target} as {self.tenant_name}{ordeal}"


@dataclass(slots=True)
class Answer:
    """What came back.

    Attributes:
        status: None: nothing was answered.
        error: what the application let out, or that it did not answer in time.
    """

    status: int | None = None
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    error: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the view did what it is for."""
        return self.status is not None and self.status < 400 and not self.error  # noqa: PLR2004

    @property
    def is_failure(self) -> bool:
        """Whether the client was told that nothing was done."""
        return bool(self.error) or self.status is None or self.status >= 500  # noqa: PLR2004

    @property
    def is_silence(self) -> bool:
        """Whether nothing came in time."""
        return self.error.startswith(NO_ANSWER)

    def header(self, name: bytes) -> bytes | None:
        """Return the header *name*, in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), None)
