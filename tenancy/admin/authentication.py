"""Who sends a request, and what it may do: by a token of the catalog, or by a JSON Web Token."""

import json
import logging
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenancy import settings as settings_module
from tenancy.errors import InvalidTokenError, SettingsError
from tenancy.faults import reason
from tenancy.provision.actor import Actor
from tenancy.provision.office import Office
from tenancy.provision.tokens import PREFIX, Scope
from tenancy.resolvers.keys import Resolver, found
from tenancy.resolvers.token import bearer, by_token
from tenancy.settings import Settings

_log = logging.getLogger(__name__)

MAX_SUBJECT_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sends a request.

    Attributes:
        name: what the audit calls it: ``token:<name>`` or ``jwt:<subject>``, so that no name given
            to a token passes for an account of the machine.
        scopes: what it may do.
    """

    name: str
    scopes: frozenset[Scope]


class Authentication:
    """Recognizes bearer tokens. There is no way to leave it out."""

    def __init__(self, office: Office) -> None:
        self._office = office
        key_file = office.settings.admin_jwt_key_file
        self._jwt = _JsonWebTokens(key_file, office.settings) if key_file else None

    async def __call__(self, scope: MutableMapping[str, Any], address: str) -> Caller:
        """Return who sends the request of the ASGI *scope*, from *address*.

        Raises:
            MissingTokenError, InvalidTokenError, ExpiredTokenError: nobody that is known.
            PoolExhaustedError, DatabaseUnavailableError, DatabaseSetupError: as `Office`.
        """
        text = bearer(scope).decode("ascii", "replace")
        if self._jwt is not None and not text.startswith(PREFIX):
            return _subject(self._jwt.claims(scope))
        async with self._office.administrator(Actor("nobody", address)) as admin:
            token = await admin.recognized(text)
        return Caller(f"token:{token.name}", frozenset(token.scopes))


def _subject(claims: Mapping[str, Any]) -> Caller:
    subject, allowed = claims.get("sub"), claims.get("scope", "")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_LENGTH:
        raise InvalidTokenError("the token's claim 'sub' names nobody")
    if not subject.isprintable() or not isinstance(allowed, str):
        raise InvalidTokenError("the token's claims 'sub' and 'scope' are no plain texts")
    said = allowed.split(" ")  # RFC 8693, section 4.2; what others mean by a scope is not ours
    return Caller(f"jwt:{subject}", frozenset(scope for scope in Scope if scope in said))


class _JsonWebTokens:
    """Tokens that are signed with a key in a file, which may be replaced while the process runs.

    Raises:
        SettingsError: the file cannot be read, or the key in it cannot be used.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path = path
        self._settings = settings
        self._read_at = 0
        try:
            self._resolver = self._read()
        except (OSError, ValueError) as error:
            words = error if not isinstance(error, OSError) else reason(error)
            name = settings_module.variable("admin_jwt_key_file")
            raise SettingsError(f"{name} cannot be used: {words}") from None

    def claims(self, scope: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the token of an ASGI *scope* says, once it is verified."""
        try:
            if self._path.stat().st_mtime_ns != self._read_at:
                self._resolver = self._read()
        except (OSError, ValueError):
            _log.exception(
                "the new key of the operators' tokens cannot be used: the last one stays"
            )
        claims: Mapping[str, Any] = found(self._resolver(scope)).principal
        return claims

    def _read(self) -> Resolver:
        self._read_at = self._path.stat().st_mtime_ns
        text = self._path.read_text()
        return by_token(
            key=json.loads(text) if text.lstrip().startswith("{") else text,
            algorithm=self._settings.admin_jwt_algorithm or "",
            audience=self._settings.admin_jwt_audience or "",
            issuer=self._settings.admin_jwt_issuer or "",
            claim=None,
        )
