"""What the API takes: checked once, here."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from tenancy import identifiers
from tenancy.fairness import limits
from tenancy.provision.audit import Outcome
from tenancy.tenant import State

PAGE = 50
MOST = 200
MAX_ID = 2**63 - 1
MAX_DAYS = 3650

_FIRST_YEAR, _LAST_YEAR = 2000, 2999


def _storable(text: str) -> str:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("holds NUL or a lone surrogate, which PostgreSQL cannot store")
    return text


def _datable(moment: datetime) -> datetime:
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError(f"is not in the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return moment.astimezone(UTC)


def _several(given: object) -> object:
    return [given] if isinstance(given, str) else given


Text = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_storable)]
# Their own words say what is wrong with one.
Slug = Annotated[
    Text,
    Field(
        json_schema_extra={
            "pattern": "^[a-z]([a-z0-9-]*[a-z0-9])?$",
            "maxLength": identifiers.MAX_SLUG_LENGTH,
        }
    ),
]
HostName = Annotated[Text, Field(json_schema_extra={"format": "idn-hostname"})]
Reason = Annotated[str, Field(max_length=1000), AfterValidator(_storable)]
Limit = Annotated[int, Field(ge=1, le=MOST)]
Position = Annotated[int, Field(ge=1, le=MAX_ID)]
Timeout = Annotated[
    float,
    Field(
        ge=limits.MIN_STATEMENT_TIMEOUT_SECONDS,
        le=limits.MAX_STATEMENT_TIMEOUT_SECONDS,
        allow_inf_nan=False,
    ),
]
Connections = Annotated[int, Field(ge=1, le=limits.MOST_CONNECTIONS)]


class Asked(BaseModel):
    """What a client sends; a member or parameter that is none of ours is refused."""

    model_config = ConfigDict(extra="forbid")


class TenantQuery(Asked):
    """Which tenants, and how many."""

    state: Annotated[list[State], BeforeValidator(_several)] = Field(default=[], max_length=5)
    search: Annotated[str, Field(max_length=255), AfterValidator(_storable)] = ""
    after: Annotated[str, Field(max_length=63), AfterValidator(_storable)] = ""
    limit: Limit = PAGE


class NewTenant(Asked):
    """A tenant to be made; the first domain is its primary one."""

    slug: Slug
    domains: list[HostName] = Field(default=[], max_length=50)


class Because(Asked):
    """Why; the audit keeps it."""

    reason: Reason | None = None


def _with(member: str) -> dict[str, Any]:
    return {"required": [member], "properties": {member: {"type": "string"}}}


class Change(Asked):
    """One change: of the slug, of the state, or of limits. A limit that is null is as for all."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                _with("slug"),
                _with("state"),
                {
                    "anyOf": [
                        {"required": [limits.STATEMENT_TIMEOUT]},
                        {"required": [limits.MAX_CONNECTIONS]},
                    ]
                },
            ]
        }
    )
    slug: Slug | None = None
    redirect: bool = True
    state: Literal["active", "read_only", "suspended"] | None = None
    reason: Reason | None = None
    statement_timeout_seconds: Timeout | None = None
    max_connections: Connections | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        kinds = (self.slug is not None, self.state is not None, bool(self.limits))
        if sum(kinds) != 1:
            raise ValueError("send one change: slug, or state, or limits")
        if "redirect" in self.model_fields_set and self.slug is None:
            raise ValueError("redirect goes with slug")
        if self.reason is not None and self.state is None:
            raise ValueError("reason goes with state")
        return self

    @property
    def limits(self) -> dict[str, float | None]:
        """The limits that were sent."""
        sent = self.model_fields_set & {limits.STATEMENT_TIMEOUT, limits.MAX_CONNECTIONS}
        return {name: getattr(self, name) for name in sorted(sent)}


class Deletion(Asked):
    """How long it can be restored, in days, and why it goes."""

    grace_days: Annotated[int, Field(ge=0, le=MAX_DAYS)] | None = None
    reason: Reason = ""


class NewDomain(Asked):
    """A domain to be added; ``verified``: you vouch that it is the tenant's."""

    name: HostName
    verified: bool = False


class Page(Asked):
    """Below which entry, and how many."""

    before: Position | None = None
    limit: Limit = PAGE


class AuditQuery(Page):
    """Which entries."""

    tenant_id: UUID | None = None
    slug: Text | None = None
    action: Text | None = None
    actor: Text | None = None
    outcome: Outcome | None = None
    since: Annotated[AwareDatetime, AfterValidator(_datable)] | None = None


class MigrationsQuery(Asked):
    """Of which tenant, and how many schemas to name."""

    tenant: Text | None = None
    limit: Limit = PAGE
