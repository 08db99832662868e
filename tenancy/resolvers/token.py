"""The tenant of a verified JSON Web Token (RFC 7519), sent as a bearer token (RFC 6750)."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tenancy.errors import (
    ExpiredTokenError,
    InvalidTokenError,
    MalformedTenantError,
    MissingExtraError,
    MissingTokenError,
)
from tenancy.resolvers.keys import Found, KeyKind, Resolver, Scope, key_of

if TYPE_CHECKING:
    from joserfc.jwk import Key as _Key
    from joserfc.jwk import KeySet

MAX_TOKEN_BYTES = 16 * 1024

KeyMaterial = str | bytes | Mapping[str, Any]

# RFC 7518, section 3.1, and RFC 9864. "none" is no algorithm here.
_KEY_TYPE_BY_ALGORITHM = {
    **dict.fromkeys(("HS256", "HS384", "HS512"), "oct"),
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
    "Ed25519": "OKP",
}
_CURVE_BY_ALGORITHM = {
    "ES256": "P-256",
    "ES384": "P-384",
    "ES512": "P-521",
    "Ed25519": "Ed25519",
}


def by_token(  # noqa: PLR0913 - each of them is a check that somebody would miss
    *,
    key: KeyMaterial | Callable[[], KeyMaterial],
    algorithm: str,
    audience: str,
    issuer: str,
    claim: str | None = "tenant",
    kind: KeyKind = KeyKind.SLUG,
    leeway_seconds: int = 30,
) -> Resolver:
    """The tenant is a claim of the request's bearer token; the claims are its principal.

    A token counts if it is signed with *key* by *algorithm*, whatever its own header says, for
    *audience*, by *issuer*, and has not expired; anything else is refused (401). Needs the extra
    ``jwt``. Verifying is CPU alone: no key is fetched from anywhere.

    Args:
        key: a secret, a public key in PEM, a JWK or a JWK set as a dict; or a callable that returns
            one of these, which may be replaced while the process runs.
        algorithm: the one that is accepted: ``RS256``, ``PS256``, ``ES256``, ``Ed25519``, ...
        audience: must be among the token's ``aud``.
        issuer: must be its ``iss``.
        claim: of the tenant. None: the token says who asks, and nothing about the tenant.
        kind: what the claim holds: a slug, a custom domain or an id.
        leeway_seconds: by so much may clocks differ.

    Raises:
        MissingExtraError: joserfc is not installed.
        ValueError: *algorithm* or *key* cannot be used.
    """
    verify = _verifier(key, algorithm, audience, issuer, leeway_seconds)

    def resolve(scope: Scope) -> Found:
        claims = verify(bearer(scope))
        if claim is None:
            return Found(principal=claims)
        named = claims.get(claim)
        tenant = key_of(kind, named) if isinstance(named, str) else None
        if tenant is None:
            raise InvalidTokenError(f"the token's claim {claim!r} is no {kind} of a tenant")
        return Found((tenant,), principal=claims)

    return resolve


def bearer(scope: Scope) -> bytes:
    """Return the bearer token of *scope* (RFC 6750, section 2.1), whatever it may be worth.

    Raises:
        MissingTokenError: there is none.
        MalformedTenantError: there are two Authorization headers.
        InvalidTokenError: it is empty, or longer than any is.
    """
    values = [value for key, value in scope["headers"] if key.lower() == b"authorization"]
    if len(values) > 1:
        raise MalformedTenantError("the request has two Authorization headers")
    scheme, _, token = values[0].strip(b" \t").partition(b" ") if values else (b"", b"", b"")
    if scheme.lower() != b"bearer":  # RFC 9110, section 11.1: in any case
        raise MissingTokenError("the request carries no bearer token")
    token = token.strip(b" ")
    if not token or len(token) > MAX_TOKEN_BYTES:
        raise InvalidTokenError("the bearer token is empty or too long")
    return token


def _verifier(
    key: KeyMaterial | Callable[[], KeyMaterial],
    algorithm: str,
    audience: str,
    issuer: str,
    leeway_seconds: int,
) -> Callable[[bytes], Mapping[str, Any]]:
    if algorithm not in _KEY_TYPE_BY_ALGORITHM:
        usable = ", ".join(_KEY_TYPE_BY_ALGORITHM)
        raise ValueError(f"{algorithm!r} is no algorithm for tokens: use one of {usable}")
    if not audience or not issuer:
        raise ValueError("name the audience and the issuer: a token for another service is none")
    try:
        from joserfc import errors, jwt  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError("by_token needs joserfc: run pip install 'tenancy[jwt]'") from error
    keys = _Keys(key, algorithm)
    checks = jwt.JWTClaimsRegistry(
        leeway=leeway_seconds,
        exp={"essential": True},
        aud={"essential": True, "value": audience},
        iss={"essential": True, "value": issuer},
    )

    def verify(token: bytes) -> Mapping[str, Any]:
        current = keys.current()
        # No `from`: what the library says may hold parts of the token.
        try:
            claims = jwt.decode(token, current, algorithms=[algorithm]).claims
            checks.validate(claims)
        except errors.ExpiredTokenError:
            raise ExpiredTokenError("the bearer token has expired") from None
        except (errors.JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise InvalidTokenError(
                f"the bearer token is refused: {type(error).__name__}"
            ) from None
        return claims

    return verify


class _Keys:
    """The key, imported once for each time it is replaced."""

    def __init__(self, given: KeyMaterial | Callable[[], KeyMaterial], algorithm: str) -> None:
        self._given = given
        self._algorithm = algorithm
        self._material: KeyMaterial | None = None
        self._imported: _Key | KeySet | None = None
        if not callable(given):
            self.current()  # what is wrong with it is said at the start

    def current(self) -> "_Key | KeySet":
        material = self._given() if callable(self._given) else self._given
        if self._imported is None or material is not self._material:
            self._imported, self._material = _imported(material, self._algorithm), material
        return self._imported


def _imported(material: KeyMaterial, algorithm: str) -> "_Key | KeySet":
    """Return the key as the library has it; of a set, those that fit the algorithm.

    Raises:
        ValueError: it does not fit the algorithm; says nothing of the key.
    """
    from joserfc import jwk  # noqa: PLC0415 - an extra

    if not isinstance(material, Mapping):
        return _key(material, algorithm)
    if "keys" not in material:
        return _key(dict(material), algorithm)
    kind = _KEY_TYPE_BY_ALGORITHM[algorithm]
    usable = [
        _key(dict(each), algorithm)
        for each in material["keys"]
        if each.get("kty") == kind and each.get("crv") == _CURVE_BY_ALGORITHM.get(algorithm)
    ]
    if not usable:
        raise ValueError(f"the key set holds no key for {algorithm}")
    return jwk.KeySet(usable)


def _key(material: str | bytes | dict[str, Any], algorithm: str) -> "_Key":
    from joserfc import errors, jwk, jws  # noqa: PLC0415 - an extra

    kind = _KEY_TYPE_BY_ALGORITHM[algorithm]
    if kind == "oct" and isinstance(material, str | bytes):
        _check_length(material, algorithm)  # before the library warns of it
    try:
        key: _Key = jwk.import_key(material, kind)  # type: ignore[call-overload]
        jws.JWSRegistry(algorithms=[algorithm]).get_alg(algorithm).check_key(key)
    except (errors.JoseError, ValueError, TypeError, AttributeError, KeyError):
        raise ValueError(f"the key cannot be used for {algorithm}: it is no {kind} key") from None
    if kind == "oct":
        _check_length(bytes(key.raw_value), algorithm)  # type: ignore[arg-type]
    return key


def _check_length(secret: str | bytes, algorithm: str) -> None:
    needed = int(algorithm[2:]) // 8  # RFC 7518, section 3.2
    length = len(secret.encode() if isinstance(secret, str) else secret)
    if length < needed:
        raise ValueError(f"the secret for {algorithm} has {length} bytes, and needs {needed}")
