"""What a leak check is asked to do."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import asyncpg

Setup = Callable[[asyncpg.Connection, tuple[str, str]], Awaitable[None]]


class Layout(StrEnum):
    """How the application keeps its tenants apart."""

    TENANCY = "tenancy"
    SCHEMAS = "schemas"
    ROWS = "rows"


class Phase(StrEnum):
    """The parts of a run, in their order."""

    ALTERNATE = "alternate"
    ERRORS = "errors"
    CANCEL = "cancel"
    INTERLEAVE = "interleave"
    PLANTS = "plants"


def _seed() -> int:
    return random.SystemRandom().randrange(2**32)


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked of one run.

    Attributes:
        tenants: names of the two canary tenants: slugs, and with `Layout.SCHEMAS` their schemas.
        layout: ``tenancy``: migrated from TENANCY_SQL_DIR, tenants made by `provision`.
            ``schemas``: *sql* is run in a schema for each tenant. ``rows``: *sql* is run once, and
            *tenant_column* says whose a row is.
        sql: files with the application's tables, for the layouts ``schemas`` and ``rows``.
        seed_sql: file that is run once for each tenant, before the tables are filled, with psql's
            ``:'tenant'`` and ``:'canary'`` replaced.
        setup: awaited with the owner's connection and the tenants' names, after the tables are
            there and before they are filled.
        tenant_column: see *layout*.
        host: of requests, with ``{tenant}``; by default a sub-domain of the first base domain.
        prefix: put before each path, with ``{tenant}``.
        headers: of each request, with ``{tenant}``.
        requests: further requests, each ``METHOD /path [JSON]``, with ``{tenant}``, ``{canary}``
            and path parameters such as ``{note_id}``.
        openapi: where the application describes itself.
        read_only: send nothing but GET.
        seed: of everything random.
        count: requests to send; the first phase is always whole.
        seconds: after which no further request is begun.
        timeout_seconds: how long one answer is waited for.
        pool_size: connections of each of the application's pools.
        skipped: phases to leave out.
        environment: variables, besides ``TENANCY_DATABASE_URL`` and ``DATABASE_URL``, that get the
            throw-away database's address.
        verbose: let the application log; requests are made to fail by the hundred.
        all_views: every view must have answered both tenants well.
    """

    tenants: tuple[str, str] = ("leakchecka", "leakcheckb")
    layout: Layout = Layout.TENANCY
    sql: tuple[Path, ...] = ()
    seed_sql: Path | None = None
    setup: Setup | None = None
    tenant_column: str = "tenant_id"
    host: str = ""
    prefix: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    requests: tuple[str, ...] = ()
    openapi: str = "/openapi.json"
    read_only: bool = False
    seed: int = field(default_factory=_seed)
    count: int = 400
    seconds: float = 60.0
    timeout_seconds: float = 5.0
    pool_size: int = 1
    skipped: frozenset[Phase] = frozenset()
    environment: tuple[str, ...] = ()
    verbose: bool = False
    all_views: bool = False


Application = Callable[..., Any]
