"""What the API gives."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic.dataclasses import dataclass

from tenancy.provision.audit import Outcome
from tenancy.tenant import State


@dataclass
class Tenant:
    """A tenant, as an operator sees it."""

    id: UUID
    slug: str
    schema: str
    state: State
    version: str | None
    domains: list[str]
    former_slugs: list[str]
    statement_timeout_seconds: float | None
    max_connections: int | None
    created_at: datetime
    updated_at: datetime
    purge_at: datetime | None


@dataclass
class Tenants:
    """Some tenants, by slug; ``next`` is the following page's ``after``, null at the end."""

    tenants: list[Tenant]
    next: str | None


@dataclass
class Domain:
    """A custom domain; served once its TXT record ``record_name`` holds the challenge."""

    name: str
    is_primary: bool
    verified_at: datetime | None
    record_name: str
    challenge: str | None
    created_at: datetime


@dataclass
class Domains:
    """All domains of a tenant, the primary one first."""

    domains: list[Domain]


@dataclass
class Entry:
    """What was done: by whom, from where, with what outcome."""

    id: int
    at: datetime
    actor: str
    source: str
    login: str
    action: str
    tenant_id: UUID | None
    slug: str | None
    outcome: Outcome
    code: str | None
    reason: str | None
    detail: dict[str, Any]


@dataclass
class Entries:
    """Some entries, the newest first; ``next`` is the following page's ``before``."""

    entries: list[Entry]
    next: int | None


@dataclass
class Standing:
    """How many schemas stand at a version."""

    stage: str
    version: str
    schemas: int


@dataclass
class Failure:
    """Which file ended in an error, where in it, and when."""

    version: str
    place: str | None
    sqlstate: str | None
    message: str | None
    at: datetime | None


@dataclass
class Behind:
    """A schema that does not stand where the files are, and what that means for it."""

    stage: str
    schema: str
    tenant: str | None
    version: str | None
    since: datetime | None
    verdict: str
    pending: list[str]
    reason: str | None
    failure: Failure | None


@dataclass
class Run:
    """The run that began last."""

    run: UUID
    command: str | None
    outcome: str | None
    started: datetime
    finished: datetime | None
    host: str
    process: int


@dataclass
class Migrations:
    """How the schemas stand; ``schemas`` names the first of those that are not at the last file."""

    empty: bool
    behind: int
    ahead: int
    refused: int
    versions: list[Standing]
    last_run: Run | None
    running: str | None
    schemas: list[Behind]
