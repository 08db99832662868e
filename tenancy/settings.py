"""The one reader of the environment.

Every setting is a field of `Settings`, read from ``TENANCY_<NAME>`` or a ``.env`` file in the
working directory; ``config/tenancy.env.example`` lists them all.
"""

import difflib
import ipaddress
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tenancy import identifiers, versions
from tenancy.errors import InvalidIdentifierError, InvalidVersionsError, SettingsError

PREFIX = "TENANCY_"
TEST_PREFIX = "TENANCY_TEST_"  # read by the test suite, not by us
ENV_FILE = ".env"
MIN_KEY_LENGTH = 32
DNS_PORT = 53  # RFC 1035, section 4.2

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Isolation(StrEnum):
    """How far the server enforces a tenant's scope; SECURITY.md says what each does not stop."""

    SCHEMA = "schema"
    ROLE = "role"
    STRICT = "strict"

    @property
    def sets_role(self) -> bool:
        """Whether a request becomes its tenant's own role."""
        return self is not Isolation.SCHEMA


class StatementCache(StrEnum):
    """Who shares a prepared statement of a connection; `pool.shapes` says what each costs."""

    AUTO = "auto"  # as version; a tenant that comes often gets its own
    VERSION = "version"  # the tenants at one checkpoint
    TENANT = "tenant"  # nobody
    OFF = "off"  # statements are prepared each time


class Pooler(StrEnum):
    """What stands between requests and their server."""

    NONE = "none"
    TRANSACTION = "transaction"


class AtStart(StrEnum):
    """What a process does about pending migrations before it serves."""

    NONE = "none"  # serves; TENANCY_VERSIONS keeps out whom it cannot serve
    WAIT = "wait"
    APPLY = "apply"


class Settings(BaseSettings):
    """All of a deployment's choices; see `load`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=ENV_FILE,
        extra="ignore",  # a .env is shared with other programs; our own names are checked in `load`
        frozen=True,
        hide_input_in_errors=True,
        env_ignore_empty=True,
    )

    database_url: SecretStr | None = Field(
        default=None,
        description="Where requests run: postgresql://user:password@host:port/database. "
        "Unset: an embedded server, for development.",
    )
    admin_database_url: SecretStr | None = Field(
        default=None,
        description="Where migrations and provisioning run. Unset: TENANCY_DATABASE_URL.",
    )
    pooler: Pooler = Field(
        default=Pooler.NONE,
        description="transaction: TENANCY_DATABASE_URL leads to a pooler, such as PgBouncer, that "
        "lends a server connection for each transaction; none: to PostgreSQL itself.",
    )
    data_dir: Path | None = Field(
        default=None,
        description="Directory of the embedded server's data. "
        "Unset: the user's data directory; /var/lib/tenancy for root.",
    )
    base_domains: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("localhost",),
        min_length=1,
        description="Domains, separated by commas, whose sub-domains are tenants.",
    )
    operator_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Hosts, separated by commas, that serve the operator's views and no tenant's.",
    )
    redirect_to_primary: bool = Field(
        default=False,
        description="Redirect (308) from a tenant's other hosts to its primary verified domain.",
    )
    redirect_former_slugs: bool = Field(
        default=True,
        description="Redirect (308) from slugs that a renamed tenant had to the one it has.",
    )
    dns_servers: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Name servers, separated by commas, that verify domains: addresses such as "
        "192.0.2.53, or 192.0.2.53:5353. Unset: the machine's own.",
    )
    isolation: Isolation = Field(
        default=Isolation.ROLE,
        description="role: the server refuses other schemas; schema: search_path only; "
        "strict: role, and only queries and changes of rows are run.",
    )
    shared_schema: str = Field(
        default="shared",
        description="Schema of the reference data that every tenant reads.",
    )
    sql_dir: Path | None = Field(
        default=None,
        description="Directory that holds shared/ and tenant/, or tenants' migrations themselves. "
        "Unset: ./sql.",
    )
    sql_written_for: str | None = Field(
        default=None,
        description="Schema whose name means the tenant's own in tenants' migrations: public, for "
        "files that were written with it. Unset: such a name is refused.",
    )
    pool_min_size: int = Field(
        default=2,
        ge=0,
        le=1000,
        description="Connections each process opens at its start. "
        "Unset: 2, or TENANCY_POOL_MAX_SIZE where that is less.",
    )
    pool_max_size: int = Field(
        default=10, ge=1, le=1000, description="Connections each process opens at most."
    )
    pool_acquire_timeout_seconds: Seconds = Field(
        default=5.0,
        description="Seconds a request waits for a connection before it is answered 503.",
    )
    pool_max_schemas: int = Field(
        default=1000,
        ge=1,
        description="Tenants a connection serves before it is replaced, which frees the server's "
        "memory of them: some 30 kB for each table.",
    )
    statement_cache: StatementCache = Field(
        default=StatementCache.AUTO,
        description="Who shares a prepared statement: version, the tenants at one checkpoint; "
        "tenant, nobody; auto, those who come often get their own; off.",
    )
    statement_cache_size: int = Field(
        default=500, ge=1, le=10_000, description="Prepared statements each connection keeps."
    )
    pool_max_waiting: int = Field(
        default=2000,
        ge=1,
        le=100_000,
        description="Requests of a process that may wait for a connection; more are answered 503.",
    )
    tenant_max_connections: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Connections of a process that one tenant may hold. "
        "Unset: a further one while it holds fewer than are free, half of them if it is alone.",
    )
    statement_timeout_seconds: Seconds = Field(
        default=30.0, description="Seconds one statement may run before the server cancels it."
    )
    idle_in_transaction_timeout_seconds: Seconds = Field(
        default=30.0,
        description="Seconds a request's transaction may sit idle before the server ends it.",
    )
    registry_listen: bool = Field(
        default=True,
        description="Hear of a tenant's changes at once, by LISTEN on one more connection.",
    )
    registry_listen_database_url: SecretStr | None = Field(
        default=None,
        description="Where to LISTEN: the server itself, where TENANCY_DATABASE_URL leads to a "
        "transaction pooler. Unset: TENANCY_DATABASE_URL.",
    )
    registry_ttl_seconds: Seconds = Field(
        default=5.0,
        description="Seconds a known tenant is served from memory while changes are not heard.",
    )
    registry_negative_ttl_seconds: Seconds = Field(
        default=2.0, description="Seconds an unknown name is answered 404 from memory, likewise."
    )
    registry_refresh_seconds: Seconds = Field(
        default=300.0,
        description="Seconds between two readings of the whole registry while changes are heard.",
    )
    registry_max_entries: int = Field(
        default=20_000,
        ge=1,
        description="Tenants kept in memory per process, about half a kilobyte each; "
        "as many unknown names.",
    )
    registry_lookups_per_second: int = Field(
        default=100,
        ge=1,
        description="Names never seen before that each process looks up; others are answered 503.",
    )
    versions: str | None = Field(
        default=None,
        description="Checkpoints that this build serves, such as >=0007 or >=0007,<=0009; tenants "
        "at others are answered 503. Unset: all.",
    )
    migrations: AtStart = Field(
        default=AtStart.NONE,
        description="What a process does about pending migrations before it serves: none, wait for "
        "them, or apply them by itself.",
    )
    migrations_wait_seconds: Seconds = Field(
        default=600,
        description="How long it waits; then it serves with those tenants behind that are.",
    )
    envelope_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(),
        description="Keys, separated by commas, that sign the envelopes of jobs: the first one "
        "signs, any is accepted. Unset: they are not signed.",
    )
    deletion_grace_days: int = Field(
        default=30,
        ge=0,
        le=3650,
        description="Days between a tenant's deletion and its purge, while it can be restored.",
    )
    reports_role: str | None = Field(
        default=None,
        description="Role that may read reports over all tenants, where --reader names no other.",
    )
    hooks: str | None = Field(
        default=None,
        description="Hooks of the steps of a tenant's life, module:object, for the commands and "
        "the operator's API. Unset: none.",
    )
    ready_schemas: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="Schemas made ahead, which new tenants are given at once; whoever maintains "
        "the database makes them up to this many. 0: none.",
    )
    admin_requests_per_second: float = Field(
        default=20,
        ge=0.1,
        le=10_000,
        description="Requests of one token to the operator's API in the long run, in each process; "
        "five seconds' worth at once. An address may send five times as many.",
    )
    admin_jwt_key_file: Path | None = Field(
        default=None,
        description="File with the key (PEM, or JWK or JWK set as JSON) that operators' JSON Web "
        "Tokens are signed with. Unset: only tokens of `python -m tenancy tokens` are good.",
    )
    admin_jwt_algorithm: str | None = Field(
        default=None, description="Algorithm they are signed by: RS256, ES256, Ed25519, ..."
    )
    admin_jwt_audience: str | None = Field(
        default=None, description="What must be among their `aud`."
    )
    admin_jwt_issuer: str | None = Field(default=None, description="What must be their `iss`.")
    require_durability: bool = Field(
        default=True,
        description="Refuse to start on a server with fsync or full_page_writes off.",
    )

    @field_validator(
        "base_domains", "operator_hosts", "dns_servers", "envelope_keys", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part for part in (p.strip() for p in value.split(",")) if part)
        return value

    @field_validator("base_domains", "operator_hosts")
    @classmethod
    def _host_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(name.lower().removesuffix(".") for name in names)
        for name in names:
            if not identifiers.is_host_name(name):
                raise ValueError("each must be a host name such as example.com, without a port")
        return names

    @field_validator("dns_servers")
    @classmethod
    def _addresses(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        for server in servers:
            try:
                name_server(server)
            except ValueError:
                raise ValueError(
                    "each must be an address such as 192.0.2.53 or [2001:db8::35]:5353"
                ) from None
        return servers

    @field_validator("envelope_keys")
    @classmethod
    def _long(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(key.get_secret_value()) < MIN_KEY_LENGTH for key in keys):
            raise ValueError(
                f"each must be at least {MIN_KEY_LENGTH} characters long: openssl rand -hex 32"
            )
        return keys

    @field_validator("shared_schema", "sql_written_for")
    @classmethod
    def _schema(cls, name: str | None) -> str | None:
        if name is None:
            return None
        try:
            identifiers.identifier(name)
        except InvalidIdentifierError as error:
            raise ValueError(str(error)) from error
        ours = (identifiers.CATALOG_SCHEMA, identifiers.REPORTS_SCHEMA)
        if name in ours or name.startswith("t_"):
            raise ValueError(f"{name!r} is taken by tenancy itself: choose another name")
        return name

    @field_validator("versions")
    @classmethod
    def _range(cls, text: str | None) -> str | None:
        if text is not None:
            try:
                versions.parse(text)
            except InvalidVersionsError as error:
                raise ValueError(str(error)) from error
        return text

    @field_validator("database_url", "admin_database_url", "registry_listen_database_url")
    @classmethod
    def _dsn(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(
            ("postgresql://", "postgres://")
        ):
            raise ValueError("must begin with postgresql://")
        try:
            _ = urlsplit(url.get_secret_value() if url else "").port
        except ValueError:  # its words hold parts of the password
            raise ValueError(
                "is no address: write % codes for special characters in the password"
            ) from None
        return url

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if "pool_min_size" not in self.model_fields_set:
            smaller = min(self.pool_min_size, self.pool_max_size)
            object.__setattr__(self, "pool_min_size", smaller)  # frozen for everybody else
        if self.pool_min_size > self.pool_max_size:
            raise ValueError("TENANCY_POOL_MIN_SIZE must not be over TENANCY_POOL_MAX_SIZE")
        if self.admin_database_url is not None and self.database_url is None:
            raise ValueError("TENANCY_ADMIN_DATABASE_URL needs TENANCY_DATABASE_URL beside it")
        if self.admin_jwt_key_file is not None and not (
            self.admin_jwt_algorithm and self.admin_jwt_audience and self.admin_jwt_issuer
        ):
            raise ValueError(
                "TENANCY_ADMIN_JWT_KEY_FILE needs TENANCY_ADMIN_JWT_ALGORITHM, "
                "TENANCY_ADMIN_JWT_AUDIENCE and TENANCY_ADMIN_JWT_ISSUER beside it"
            )
        if self.sql_written_for == self.shared_schema:
            raise ValueError("TENANCY_SQL_WRITTEN_FOR must not be the schema that tenants share")
        return self

    @property
    def dsn(self) -> str:
        """The address requests run at.

        Raises:
            SettingsError: none is configured.
        """
        if self.database_url is None:
            raise SettingsError(
                "TENANCY_DATABASE_URL is not set: set it to postgresql://user:password@host/db, or "
                "use the embedded server (python -m tenancy serve)"
            )
        return self.database_url.get_secret_value()

    @property
    def listen_dsn(self) -> str:
        """The address the registry listens at; by default where requests run."""
        if self.registry_listen_database_url is None:
            return self.dsn
        return self.registry_listen_database_url.get_secret_value()

    @property
    def admin_dsn(self) -> str:
        """The address migrations and provisioning run at; by default where requests run.

        Raises:
            SettingsError: none is configured, or requests run through a pooler: migrations keep
                locks and settings for a session.
        """
        if self.admin_database_url is None:
            if self.pooler is not Pooler.NONE:
                raise SettingsError(
                    "TENANCY_ADMIN_DATABASE_URL is not set: beside TENANCY_POOLER it must lead to "
                    "PostgreSQL itself, past the pooler"
                )
            return self.dsn
        return self.admin_database_url.get_secret_value()

    @property
    def unset_owner(self) -> str:
        """Advice for where the owner's login lacks a right, if it is nobody's; else empty."""
        if self.admin_database_url is not None:
            return ""
        return (
            "TENANCY_ADMIN_DATABASE_URL is not set, so the requests' login was used: set it to the "
            "owner's address"
        )


def load() -> Settings:
    """Return the settings of this process's environment and ``.env`` file.

    Raises:
        SettingsError: a value is not acceptable, or a ``TENANCY_*`` name is none of ours; names it,
            never its value.
    """
    _refuse_unknown_names()
    try:
        return Settings()
    except ValidationError as error:
        faults = "; ".join(
            (f"{variable(str(fault['loc'][0]))}: " if fault["loc"] else "")
            + fault["msg"].removeprefix("Value error, ")
            for fault in error.errors(include_input=False, include_url=False)
        )
        raise SettingsError(f"unusable settings: {faults}") from None


def name_server(text: str) -> tuple[str, int]:
    """Return the address and the port that *text* means, which is one of `Settings.dns_servers`.

    Raises:
        ValueError: it means none.
    """
    is_bare = text.count(":") > 1 and not text.startswith("[")  # an IPv6 address without a port
    parts = urlsplit(f"//[{text}]" if is_bare else f"//{text}")
    return str(ipaddress.ip_address(parts.hostname or "")), parts.port or DNS_PORT


def milliseconds(seconds: float) -> str:
    """Return *seconds* as PostgreSQL's settings count them; never 0, which is none at all."""
    return str(max(1, round(seconds * 1000)))


def variable(field: str) -> str:
    """Return the environment variable that sets *field*."""
    return PREFIX + field.upper()


def _refuse_unknown_names() -> None:
    known = {field.upper() for field in Settings.model_fields}
    for name in sorted({*os.environ, *dotenv_values(ENV_FILE)}):
        upper = name.upper()
        if (
            not upper.startswith(PREFIX)
            or upper.startswith(TEST_PREFIX)
            or upper.removeprefix(PREFIX) in known
        ):
            continue
        bare = upper.removeprefix(PREFIX)  # what all names begin with makes none alike
        nearest = difflib.get_close_matches(bare, known, n=1, cutoff=0.75)
        hint = (
            f"did you mean {PREFIX}{nearest[0]}?"
            if nearest
            else "`python -m tenancy settings` prints them all"
        )
        where = "the environment" if name in os.environ else ENV_FILE
        raise SettingsError(f"{name}, of {where}, is no setting of tenancy: {hint}")


def example() -> str:
    """Return ``config/tenancy.env.example``: every setting, what it means, its default."""
    lines = [
        "# Every setting of tenancy with its default: copy this to .env, or set the environment.",
        "# `python -m tenancy settings` prints it; a misspelt TENANCY_* name stops the start.",
    ]
    for name, field in Settings.model_fields.items():
        lines += ["", f"# {field.description}", f"#{variable(name)}={_written(field.default)}"]
    return "\n".join(lines) + "\n"


def _written(default: object) -> str:
    match default:
        case None:
            return ""
        case bool():
            return str(default).lower()
        case tuple():
            return ",".join(default)
        case _:
            return str(default)
