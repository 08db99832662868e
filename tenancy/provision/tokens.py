"""Bearer tokens of the operator's HTTP API: made, listed, revoked, and recognized.

``tnc_<id>_<secret>``: the id finds the row, the secret is compared with its digest. The catalog
holds no secret, so that nobody who reads it, or a backup of it, can use the API.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import asyncpg

from tenancy.errors import (
    ExpiredTokenError,
    InvalidTokenError,
    InvalidTokenRequestError,
    TokenNameTakenError,
    UnknownTokenError,
)
from tenancy.provision.hooks import Step
from tenancy.provision.looking import Looking

PREFIX = "tnc_"
DEFAULT_DAYS = 90
MAX_DAYS = 3650

_TOKEN = re.compile(PREFIX + "([0-9a-f]{12})_([0-9a-f]{64})")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_NOBODYS = bytes(32)


class Scope(StrEnum):
    """What a token allows; none includes another."""

    READ = "read"  # tenants, domains, migrations
    AUDIT = "audit"  # who did what
    WRITE = "write"  # make and change tenants and their domains
    DELETE = "delete"  # delete tenants; restoring one is `write`


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token; never its secret.

    Attributes:
        id: the part of it that is no secret.
        name: what the audit calls it.
        scopes: what it allows.
        created_at, expires_at: with a time zone.
        revoked_at: since when it is good for nothing; None: it was not revoked.
        last_used_at: to the minute; None: never.
    """

    id: str
    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    @property
    def state(self) -> str:
        """One word: good, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "good" if self.expires_at > datetime.now(UTC) else "expired"

    def as_json(self) -> dict[str, Any]:
        """Members for a JSON document."""
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "scopes": [str(scope) for scope in self.scopes],
            "created_at": self.created_at.isoformat(),
            "expires_at": self.expires_at.isoformat(),
            "revoked_at": self.revoked_at and self.revoked_at.isoformat(),
            "last_used_at": self.last_used_at and self.last_used_at.isoformat(),
        }


_COLUMNS = "id, name, scopes, created_at, expires_at, revoked_at, last_used_at"

# An expired one keeps its row, and gives up its name.
_FREE_NAME = """
    UPDATE tenancy.tokens SET revoked_at = now()
    WHERE name = $1 AND revoked_at IS NULL AND expires_at <= now()
"""
_CREATE = f"""
    INSERT INTO tenancy.tokens (id, name, digest, scopes, expires_at)
    VALUES ($1, $2, $3, $4, now() + $5::interval)
    RETURNING {_COLUMNS}
"""
_REVOKE = f"""
    UPDATE tenancy.tokens SET revoked_at = now() WHERE name = $1 AND revoked_at IS NULL
    RETURNING {_COLUMNS}
"""
_FIND = f"""
    SELECT digest, expires_at <= now() AS expired,
           last_used_at IS NULL OR last_used_at < now() - interval '1 minute' AS stale, {_COLUMNS}
    FROM tenancy.tokens WHERE id = $1 AND revoked_at IS NULL
"""
_USED = "UPDATE tenancy.tokens SET last_used_at = now() WHERE id = $1"


class Tokens(Looking):
    """Tokens of the operator's API."""

    async def create_token(
        self, name: str, scopes: Collection[Scope], *, days: float = DEFAULT_DAYS
    ) -> tuple[Token, str]:
        """Make a token; return what is known of it, and the token itself, which nobody keeps.

        Args:
            name: what the audit will call whoever uses it.
            scopes: what it allows.
            days: after which it is good for nothing.

        Raises:
            InvalidTokenRequestError: one of them cannot be.
            TokenNameTakenError: a token that is still good has the name.
        """
        _check(name, scopes, days)
        token_id, secret = secrets.token_hex(6), secrets.token_hex(32)
        allowed = [str(scope) for scope in Scope if scope in scopes]
        detail = {"token": name, "id": token_id, "scopes": allowed, "days": days}
        async with self.step(Step.CREATE_TOKEN, "", detail=detail):
            await self._conn.execute(_FREE_NAME, name)
            try:
                row = await self._conn.fetchrow(
                    _CREATE, token_id, name, _digest(secret), allowed, timedelta(days=days)
                )
            except asyncpg.UniqueViolationError as error:
                raise TokenNameTakenError(
                    f"a token called {name!r} is there: revoke it, or choose another name"
                ) from error
        return _token(row), f"{PREFIX}{token_id}_{secret}"

    async def revoke_token(self, name: str) -> Token:
        """Let the token called *name* be good for nothing, from its next request on.

        Raises:
            UnknownTokenError: there is none, or it is revoked already.
        """
        async with self.step(Step.REVOKE_TOKEN, "", detail={"token": name}):
            row = await self._conn.fetchrow(_REVOKE, name)
            if row is None:
                raise UnknownTokenError(
                    f"no token is called {name!r}: `python -m tenancy tokens list` shows them"
                )
        return _token(row)

    async def tokens(self) -> tuple[Token, ...]:
        """Return all tokens that were ever made, by name, the newest first."""
        async with self._readable():
            rows = await self._conn.fetch(
                f"SELECT {_COLUMNS} FROM tenancy.tokens ORDER BY name, created_at DESC"
            )
        return tuple(map(_token, rows))

    async def recognized(self, text: str) -> Token:
        """Return the token that *text* is, and note that it was used.

        Raises:
            InvalidTokenError: it is none, or was revoked.
            ExpiredTokenError: it was one.
        """
        found = _TOKEN.fullmatch(text)
        row = await self._conn.fetchrow(_FIND, found[1]) if found else None
        digest = _digest(found[2]) if found else _NOBODYS
        # In one time for a wrong secret, however much of its digest is right.
        is_right = hmac.compare_digest(digest, row["digest"] if row else _NOBODYS)
        if row is None or not is_right:
            raise InvalidTokenError("the bearer token is none of ours, or was revoked")
        if row["expired"]:
            raise ExpiredTokenError(f"the token {row['name']} has expired")
        if row["stale"]:
            await self._conn.execute(_USED, row["id"])
        return _token(row)


def _check(name: str, scopes: Collection[Scope], days: float) -> None:
    if _NAME.fullmatch(name) is None:
        raise InvalidTokenRequestError(
            f"{name!r} cannot be a token's name: use a-z, 0-9 and . _ - inside, 1 to 63 characters"
        )
    if not scopes:
        raise InvalidTokenRequestError(f"name what it allows: {', '.join(Scope)}")
    if not 0 < days <= MAX_DAYS:
        raise InvalidTokenRequestError(f"a token is good for up to {MAX_DAYS} days, not {days:g}")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _token(row: asyncpg.Record) -> Token:
    return Token(
        row["id"],
        row["name"],
        tuple(map(Scope, row["scopes"])),
        row["created_at"],
        row["expires_at"],
        row["revoked_at"],
        row["last_used_at"],
    )
