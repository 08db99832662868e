"""Custom domains as they are kept: lower case, in punycode, and none of ours. Pure."""

import idna

from tenancy import identifiers
from tenancy.errors import InvalidDomainError
from tenancy.settings import Settings

_PUNYCODE = "xn--"


def custom(text: str, settings: Settings) -> str:
    """Return *text* as DNS and the Host header have it, if a tenant may have it.

    Letters outside ASCII become punycode as browsers make it (IDNA 2008 after the mapping of
    Unicode's UTS 46): ``Bücher.example`` is ``xn--bcher-kva.example``.

    Raises:
        InvalidDomainError: it is no domain, or the deployment's own.
    """
    name = plain(text)
    for base in settings.base_domains:
        if name == base or name.endswith(f".{base}"):
            raise InvalidDomainError(
                f"{name!r} is at or below the base domain {base}, where slugs decide"
            )
    if name in settings.operator_hosts:
        raise InvalidDomainError(f"{name!r} is one of TENANCY_OPERATOR_HOSTS, and no tenant's")
    return name


def plain(text: str) -> str:
    """Return *text* in lower case and punycode, without a final dot.

    Raises:
        InvalidDomainError: it is no domain.
    """
    try:
        name = text if text.isascii() else idna.encode(text, uts46=True).decode()
        name = identifiers.domain(name)
        for label in name.split("."):
            # A browser shows, and sends, nothing that does not come back as it was.
            if label.startswith(_PUNYCODE):
                idna.alabel(idna.ulabel(label))
    except (idna.IDNAError, UnicodeError) as error:
        raise InvalidDomainError(f"{text!r} cannot be a domain: {error}") from error
    return name
