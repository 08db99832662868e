"""Who sends a request, and what it may do: by a token of the catalog, or by a JSON Web Token."""

import json
import logging
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenancy import settings as settings_module
from tenancy.errors import InvalidTokenError, SettingsError
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
        self._jwt = _by_jwt(office.settings)

    async def __call__(self, scope: MutableMapping[str, Any], address: str) -> Caller:
        """Return who sends the request of the ASGI *scope*, from *address*.

        Raises:
            MissingTokenError, InvalidTokenError, ExpiredTokenError: nobody that is known.
            PoolExhaustedError, DatabaseUnavailableError, DatabaseSetupError: as `Office`.
        """
        text = bearer(scope).decode("ascii", "replace")
        if self._jwt is not None and not text.startswith(PREFIX):
            return _subject(found(self._jwt(scope)).principal)
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


def _by_jwt(settings: Settings) -> Resolver | None:
    if settings.admin_jwt_key_file is None:
        return None
    try:
        return by_token(
            key=_KeyFile(settings.admin_jwt_key_file),
            algorithm=settings.admin_jwt_algorithm or "",
            audience=settings.admin_jwt_audience or "",
            issuer=settings.admin_jwt_issuer or "",
            claim=None,
        )
    except ValueError as error:
        raise SettingsError(f"{settings_module.variable('admin_jwt_key_file')}: {error}") from error


class _KeyFile:
    """A key, or a set of keys, in a file that may be replaced while the process runs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at = -1
        self._key: str | dict[str, Any] = ""
        self()  # what is wrong with it is said at the start

    def __call__(self) -> str | dict[str, Any]:
        try:
            written_at = self._path.stat().st_mtime_ns
            if written_at != self._read_at:
                text = self._path.read_text()
                self._key = json.loads(text) if text.lstrip().startswith("{") else text
                self._read_at = written_at
        except (OSError, ValueError) as error:
            if self._read_at < 0:
                raise SettingsError(
                    f"{settings_module.variable('admin_jwt_key_file')} cannot be read: "
                    f"{type(error).__name__}"
                ) from None
            _log.error("the key of the operators' tokens cannot be read: the last one stays")
        return self._key
