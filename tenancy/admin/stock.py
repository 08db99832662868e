"""Schemas made ahead, made again behind the answers of those that took them."""

import asyncio
import logging
import socket
from contextvars import Context

import asyncpg

from tenancy.errors import TenancyError
from tenancy.provision import Actor
from tenancy.provision.office import Office

_log = logging.getLogger(__name__)

ACTOR = "maintenance"


class Stock:
    """Refills what `Administrator.create` has taken, one round at a time, after the answer.

    Where it fails, the next creation or ``python -m tenancy maintain`` goes on.
    """

    def __init__(self, office: Office) -> None:
        self._office = office
        self._round: asyncio.Task[None] | None = None
        self._again = False

    def taken(self) -> None:
        """Note that a tenant was made."""
        if not self._office.settings.ready_schemas:
            return
        if self._round is not None and not self._round.done():
            self._again = True
            return
        # In no context at all: it outlives the request that happened to start it.
        self._round = asyncio.get_running_loop().create_task(self._refill(), context=Context())

    async def close(self) -> None:
        """End the round that is under way; a schema that is half made is rolled back."""
        if self._round is not None:
            self._round.cancel()
            await asyncio.wait({self._round})

    async def _refill(self) -> None:
        self._again = True
        while self._again:
            self._again = False
            try:
                async with self._office.administrator(Actor(ACTOR, socket.gethostname())) as admin:
                    await admin.refill()
            except (TenancyError, asyncpg.PostgresError) as error:
                words = error if isinstance(error, TenancyError) else type(error).__name__
                _log.warning("schemas could not be made ahead: %s", words)
