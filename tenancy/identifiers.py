"""Names of schemas, roles, slugs and domains: checked first, then quoted.

`quoted`, `quoted_login`, `literal` and `constant` are the only makers of SQL text from values; a
grep for them lists all of it.
"""

import re
import secrets

from tenancy.errors import InvalidDomainError, InvalidIdentifierError, InvalidSlugError

MAX_IDENTIFIER_BYTES = 63  # NAMEDATALEN - 1; PostgreSQL, "Identifiers and Key Words"
MAX_SLUG_LENGTH = 48  # leaves room for the prefix and the suffix of a schema name
MAX_DOMAIN_LENGTH = 253  # RFC 1035, section 3.1, without the root's dot

CATALOG_SCHEMA = "tenancy"
REPORTS_SCHEMA = "tenancy_reports"

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")
_SLUG = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123, section 2.1

_RESERVED = """
    admin administrator api assets auth autoconfig autodiscover cdn email ftp health healthz imap
    internal login logout mail metrics mx ns ns1 ns2 oauth operator pop pop3 postgres postmaster
    private public readyz root security shared signin signup smtp sso static status support system
    template0 template1 tenancy webmail wpad ws www
"""
RESERVED_SLUGS = frozenset(_RESERVED.split())


def identifier(name: str) -> str:
    """Return *name* if PostgreSQL stores it exactly as written, else raise.

    Lower case, digits and underscores, a letter or underscore first, at most 63 bytes: the server
    cuts a longer name silently ("Identifiers and Key Words"), so two tenants could share one
    schema. Names beginning with ``pg_`` keep a meaning of their own in a search path, even quoted.

    Raises:
        InvalidIdentifierError: names the offending value.
    """
    if _IDENTIFIER.fullmatch(name) is None or name.startswith("pg_"):
        raise InvalidIdentifierError(
            f"{name!r} cannot name a schema or role: use a-z, 0-9 and _, no digit first, not pg_..."
        )
    if len(name) > MAX_IDENTIFIER_BYTES:
        raise InvalidIdentifierError(
            f"{name!r} is {len(name)} bytes long and PostgreSQL keeps {MAX_IDENTIFIER_BYTES}: "
            "shorten it"
        )
    return name


def quoted(name: str) -> str:
    """Return the checked *name* as a double-quoted SQL identifier.

    Raises:
        InvalidIdentifierError: as `identifier`.
    """
    return f'"{identifier(name)}"'


def literal(text: str) -> str:
    """Return *text* as an SQL string constant, for utility statements that take no parameters.

    Raises:
        InvalidIdentifierError: *text* holds a NUL or a backslash, which no value of ours does.
    """
    if "\0" in text or "\\" in text:
        raise InvalidIdentifierError(
            f"{text!r} holds a character that no value of tenancy's may hold"
        )
    return "'" + text.replace("'", "''") + "'"


def constant(text: str) -> str:
    """Return *text*, which we did not choose, as an SQL string constant."""
    if "\0" in text:
        raise InvalidIdentifierError("a NUL, which no text in the database may hold")
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def slug(text: str) -> str:
    """Return *text* if it can be a new tenant's slug: one DNS label, not reserved, at most 48 long.

    Raises:
        InvalidSlugError: says which rule *text* breaks.
    """
    if not is_slug(text):
        raise InvalidSlugError(
            f"{text!r} cannot be a slug: use a-z, 0-9 and hyphens inside, a letter first, "
            f"1 to {MAX_SLUG_LENGTH} characters"
        )
    if is_reserved(text):
        raise InvalidSlugError(f"{text!r} is reserved: choose another slug")
    return text


def is_slug(text: str) -> bool:
    """Whether *text* has the form of a slug; a reserved one has."""
    return len(text) <= MAX_SLUG_LENGTH and _SLUG.fullmatch(text) is not None


def is_reserved(text: str) -> bool:
    """Whether no tenant may be called *text*: a service's own name, ``pg-...`` or punycode."""
    return text in RESERVED_SLUGS or text.startswith(("pg-", "xn--"))


def domain(text: str) -> str:
    """Return *text* lower-cased and without a final dot if it can be a tenant's custom domain.

    At least two labels of letters, digits and inner hyphens (RFC 1123, section 2.1), the last one
    not numeric, so that no address passes; names outside ASCII come in punycode (``xn--``).

    Raises:
        InvalidDomainError: names the offending value.
    """
    name = text.lower().removesuffix(".") if text.isascii() else text
    if not is_host_name(name) or "." not in name or name.rsplit(".", 1)[1].isdigit():
        raise InvalidDomainError(
            f"{text!r} cannot be a domain: use a full host name such as notes.example.org, "
            "in punycode where it has letters outside ASCII"
        )
    return name


def is_host_name(name: str) -> bool:
    """Whether lower-case *name* is made of labels that DNS and HTTP both accept."""
    return 0 < len(name) <= MAX_DOMAIN_LENGTH and all(map(_LABEL.fullmatch, name.split(".")))


def schema_name(tenant_slug: str) -> str:
    """Return a fresh schema name for *tenant_slug*: readable, and never used before.

    ``t_<slug>_<6 random>``: a tenant that takes an old slug again must not adopt the old schema.
    """
    return identifier(f"t_{tenant_slug.replace('-', '_')}_{secrets.token_hex(3)}")


def quoted_login(name: str) -> str:
    """Return the name of an existing login, which we did not choose, as an SQL identifier."""
    if "\0" in name or not name:
        raise InvalidIdentifierError(f"{name!r} cannot be a role")
    return '"' + name.replace('"', '""') + '"'
