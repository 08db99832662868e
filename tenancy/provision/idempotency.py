"""Requests that may be sent twice: a key of the client's choice, and what was made under it."""

import hashlib
import json
from collections.abc import Sequence
from uuid import UUID

import asyncpg

from tenancy.errors import IdempotencyKeyUsedError, InvalidIdempotencyKeyError

MAX_LENGTH = 255
KEPT_HOURS = 24

# An expired key is as good as one that was never sent. Who comes second waits here for the first
# one's end, and finds nothing where that was undone.
_CLAIM = f"""
    INSERT INTO tenancy.idempotency_keys AS k (actor, key, request) VALUES ($1, $2, $3)
    ON CONFLICT (actor, key) DO UPDATE SET request = $3, tenant_id = NULL, made_at = now()
        WHERE k.made_at < now() - interval '{KEPT_HOURS} hours'
    RETURNING true
"""
_FIND = f"""
    SELECT k.request, t.slug FROM tenancy.idempotency_keys AS k
    LEFT JOIN tenancy.tenants AS t ON t.id = k.tenant_id
    WHERE k.actor = $1 AND k.key = $2 AND k.made_at >= now() - interval '{KEPT_HOURS} hours'
"""
_KEEP = "UPDATE tenancy.idempotency_keys SET tenant_id = $3 WHERE actor = $1 AND key = $2"
_FORGET = f"""
    DELETE FROM tenancy.idempotency_keys WHERE made_at < now() - interval '{KEPT_HOURS} hours'
"""


class Request:
    """A request under its key.

    Args:
        actor: who sends it; nobody meets another's keys.
        key: of his choice, 1 to 255 printable characters of ASCII.
        slug: of the tenant that is asked for.
        domains: likewise, in their order.

    Raises:
        InvalidIdempotencyKeyError: the key is empty, too long, or holds other characters.
    """

    def __init__(self, actor: str, key: str, slug: str, domains: Sequence[str]) -> None:
        if not (0 < len(key) <= MAX_LENGTH and key.isascii() and key.isprintable()):
            raise InvalidIdempotencyKeyError(
                f"an idempotency key is 1 to {MAX_LENGTH} printable characters of ASCII, such as a "
                f"UUID; this one has {len(key)}"
            )
        self.slug = slug
        self._key = (actor, key)
        self._digest = hashlib.sha256(json.dumps([slug, *domains]).encode()).hexdigest()

    async def claim(self, conn: asyncpg.Connection) -> bool:
        """Whether the key is this request's, in the open transaction; False: it was sent before."""
        return bool(await conn.fetchval(_CLAIM, *self._key, self._digest))

    async def outcome(self, conn: asyncpg.Connection) -> str | None:
        """Return the slug that the tenant made under this key has now; None: there was no request.

        Raises:
            IdempotencyKeyUsedError: that was another request, or its tenant is no more.
        """
        row = await conn.fetchrow(_FIND, *self._key)
        if row is None:
            return None
        if row["request"] != self._digest:
            raise IdempotencyKeyUsedError(
                "this idempotency key came with another request in the last "
                f"{KEPT_HOURS} hours: use a new one"
            )
        if row["slug"] is None:
            raise IdempotencyKeyUsedError(
                "the tenant that was made under this idempotency key is no more: use a new key to "
                "make another"
            )
        return str(row["slug"])

    async def keep(self, conn: asyncpg.Connection, tenant_id: UUID) -> None:
        """Note what was made, in the transaction of `claim`."""
        await conn.execute(_KEEP, *self._key, tenant_id)


async def forget(conn: asyncpg.Connection) -> int:
    """Delete the keys that nobody is bound by any more; return how many."""
    status = await conn.execute(_FORGET)
    return int(status.rpartition(" ")[2])
