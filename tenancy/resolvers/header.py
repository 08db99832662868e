"""The tenant of a header that a proxy or a gateway sets."""

import hashlib
import hmac
import ipaddress
import re
import time
from collections.abc import Iterable, Sequence

from tenancy.errors import MalformedTenantError, NoTenantNamedError, UntrustedTenantError
from tenancy.resolvers.keys import KeyKind, Resolver, Scope, TenantKey, key_of

MIN_SECRET_BYTES = 32  # RFC 2104, section 3: no shorter than the hash
MAX_VALUE_BYTES = 512
UNIX = "unix"

Secret = str | bytes
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAME = re.compile(r"[A-Za-z0-9-]+")
_SIGNED = re.compile(
    r"(?P<name>[^;]+);t=(?P<seconds>[0-9]{1,12});v1=(?P<signature>[0-9a-f]{64})", re.ASCII
)


def by_header(
    name: str,
    *,
    trusted: Iterable[str] = (),
    secret: Secret | Sequence[Secret] = (),
    kind: KeyKind = KeyKind.SLUG,
    max_age_seconds: int = 60,
) -> Resolver:
    """The tenant is named by a header, which is read only where its sender can be trusted.

    With *trusted* the header counts if the peer of the connection (the scope's ``client``) is in
    one of these networks; a stranger's is ignored as if it were not there. With *secret* it counts
    if it is `signed`, and is refused (400) otherwise. With both it must be both. A header that
    counts and is there twice, or is no name of *kind*, is refused (400).

    Args:
        name: of the header, in any case; without underscores, which proxies confuse with hyphens.
        trusted: networks such as ``10.0.0.0/8`` or ``::1``; ``unix`` for a Unix socket's peer. The
            proxies in them must overwrite or delete the header that a client sends.
        secret: at least 32 bytes; several while they are being rotated.
        kind: what the header holds: a slug, a custom domain or an id.
        max_age_seconds: a signature may be so old, or so far ahead where clocks differ. Until then
            whoever has seen it can send it again.

    Raises:
        ValueError: neither *trusted* nor *secret* is given, or one of them cannot be used.
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} cannot name the header: use letters, digits and hyphens")
    networks = tuple(ipaddress.ip_network(text) for text in trusted if text != UNIX)
    takes_unix = UNIX in trusted
    secrets = _secrets(secret)
    if not (networks or takes_unix or secrets):
        raise ValueError("say who may send the header: trusted=... networks, or secret=...")
    is_open = not (networks or takes_unix)
    wanted = name.lower()

    def resolve(scope: Scope) -> TenantKey:
        values = [value for key, value in scope["headers"] if key.lower() == wanted.encode()]
        if not values or not (is_open or _is_trusted(scope, networks, takes_unix=takes_unix)):
            raise NoTenantNamedError(f"no {name} header from a sender that is trusted")
        if len(values) > 1:
            raise MalformedTenantError(f"the request has {len(values)} headers {name}")
        text = _text(values[0], name)
        if secrets:
            text = _verified(text, wanted, secrets, max_age_seconds)
        key = key_of(kind, text)
        if key is None:
            raise MalformedTenantError(f"the header {name} holds no {kind} of a tenant")
        return key

    return resolve


def signed(name: str, tenant: str, secret: Secret, *, at: float | None = None) -> str:
    """Return the value of the header *name* that names *tenant*, for `by_header` with *secret*.

    ``<tenant>;t=<seconds since 1970>;v1=<HMAC-SHA256 in hex>``, over ``<name in lower case>``,
    ``<tenant>`` and ``<seconds>`` with a line feed between each.

    Args:
        name: of the header.
        tenant: its slug, domain or id, whichever the resolver expects.
        secret: as the resolver's.
        at: when it is signed, in seconds since 1970; by default now.
    """
    seconds = str(int(time.time() if at is None else at))
    (key,) = _secrets(secret)
    return f"{tenant};t={seconds};v1={_signature(name.lower(), tenant, seconds, key)}"


def _secrets(secret: Secret | Sequence[Secret]) -> tuple[bytes, ...]:
    given = (secret,) if isinstance(secret, str | bytes) else secret
    keys = tuple(each.encode() if isinstance(each, str) else each for each in given)
    if any(len(key) < MIN_SECRET_BYTES for key in keys):
        raise ValueError(f"a secret has at least {MIN_SECRET_BYTES} bytes")
    return keys


def _signature(name: str, tenant: str, seconds: str, key: bytes) -> str:
    text = f"{name}\n{tenant}\n{seconds}"
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _text(value: bytes, name: str) -> str:
    stripped = value.strip(b" \t")
    if not stripped.isascii() or not 0 < len(stripped) <= MAX_VALUE_BYTES:
        raise MalformedTenantError(f"the header {name} is empty, too long or not ASCII")
    return stripped.decode("ascii")


def _verified(text: str, name: str, secrets: tuple[bytes, ...], max_age_seconds: int) -> str:
    match = _SIGNED.fullmatch(text)
    if match is None:
        raise UntrustedTenantError(f"the header {name} is not signed")
    tenant, seconds = match["name"], match["seconds"]
    # Every secret is tried, so that the time tells nothing about which one it was.
    good = [
        hmac.compare_digest(_signature(name, tenant, seconds, key), match["signature"])
        for key in secrets
    ]
    if not any(good):
        raise UntrustedTenantError(f"the signature of the header {name} is wrong")
    if abs(time.time() - int(seconds)) > max_age_seconds:
        raise UntrustedTenantError(f"the signature of the header {name} is too old, or of later")
    return tenant


def _is_trusted(scope: Scope, networks: tuple[Network, ...], *, takes_unix: bool) -> bool:
    client = scope.get("client")
    if not client or not client[0]:
        return takes_unix  # a Unix socket's peer has no address
    try:
        address = ipaddress.ip_address(client[0].partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # an IPv4 peer of a socket for both
    return any((mapped or address) in network for network in networks)
