"""A poured schema becomes a tenant's: registry, ledger, and the proof that it is what it was."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tenancy import identifiers
from tenancy.errors import InvalidSlugError, MigrationRefusedError, NotPortableError, SlugTakenError
from tenancy.identifiers import quoted
from tenancy.migrate import Files
from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger import carried, checkpoints, stamp
from tenancy.migrate.ledger.carried import Carried
from tenancy.migrate.ledger.records import Move, SchemaRef
from tenancy.migrate.origin import alike
from tenancy.migrate.plan import chain
from tenancy.migrate.plan.chain import Position
from tenancy.migrate.shape.differences import Difference
from tenancy.migrate.shape.fingerprint import fingerprint
from tenancy.migrate.upgrade.scratch import replayed
from tenancy.portability import likeness
from tenancy.portability.image import Image
from tenancy.portability.manifest import Portrait, Registered
from tenancy.provision import Administrator
from tenancy.tenant import State

# The tenant's domains refer to its id, so both change at once.
_BE = """
    WITH moved AS (UPDATE tenancy.domains SET tenant_id = $2 WHERE tenant_id = $1)
    UPDATE tenancy.tenants
    SET id = $2, state = $3, settings = $4::jsonb, created_at = $5, updated_at = now(),
        former_slugs = ARRAY(
            SELECT f FROM unnest($6::text[]) AS f WHERE f <> slug AND NOT EXISTS (
                SELECT FROM tenancy.tenants AS o WHERE o.slug = f OR f = ANY (o.former_slugs)))
    WHERE id = $1
"""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the tenant is to be here.

    Attributes:
        same: whether it is the same tenant, with the id, the age and the former slugs it had.
        domains: checked; the first one is primary if *has_primary*.
        state: that requests find it in.
    """

    slug: str
    domains: Sequence[str]
    has_primary: bool
    state: State
    same: bool


def state_of(tenant: Registered) -> State:
    """Return the state that a copy of *tenant* is to be in."""
    served = tenant.state in {State.ACTIVE, State.READ_ONLY}
    return tenant.state if served else State.SUSPENDED


def position(files: tuple[Migration, ...], ledger: Carried) -> Position:
    """Return where a schema with *ledger* stands on the chain of *files*; pure.

    Raises:
        MigrationRefusedError: its past is not theirs, or they lack what it has.
    """
    found = chain.position(files, ledger.digest) or chain.difference(
        files, ledger.digest, ledger.history
    )
    if found.verdict.refused or found.verdict is chain.Verdict.AHEAD:
        raise MigrationRefusedError(f"the files here are not those of this tenant: {found.reason}")
    return found


async def made(admin: Administrator, tenant: Registered, wish: Wish) -> SchemaRef:
    """Make the registry's row and an empty schema, in the open transaction.

    Raises:
        SlugTakenError, DomainTakenError: another tenant has it, or this one is here already.
    """
    conn = admin.connection
    await admin.rights.open_catalog()
    if wish.same and await conn.fetchval(
        "SELECT true FROM tenancy.tenants WHERE id = $1 AND slug <> $2", tenant.id, wish.slug
    ):
        raise SlugTakenError(
            "this tenant is here already, and has another slug now: give the copy a slug of its own"
        )
    name = identifiers.schema_name(wish.slug)
    await admin.register(wish.slug, name, wish.domains)
    new = await conn.fetchval("SELECT id FROM tenancy.tenants WHERE slug = $1", wish.slug)
    created = await conn.fetchval("SELECT created_at FROM tenancy.tenants WHERE id = $1", new)
    await conn.execute(
        *(_BE, new, tenant.id if wish.same else new, wish.state, json.dumps(tenant.settings)),
        *(tenant.created_at, _former(tenant)) if wish.same else (created, ()),
    )
    if wish.domains and not wish.has_primary:
        await conn.execute(
            "UPDATE tenancy.domains SET is_primary = false WHERE name = ANY ($1)",
            list(wish.domains),
        )
    await admin.make_schema(name)
    schema = await checkpoints.schema(conn, name)
    if schema is None:
        raise NotPortableError(f"the schema {name} is gone before it was filled")
    return schema


def _former(tenant: Registered) -> tuple[str, ...]:
    """Return the slugs that *tenant* had, without those that nobody can have: an archive's."""
    return tuple(one for one in tenant.former_slugs if _is_slug(one))


def _is_slug(text: str) -> bool:
    try:
        return identifiers.slug(text) == text
    except InvalidSlugError:
        return False


async def recorded(admin: Administrator, schema: SchemaRef, portrait: Portrait) -> None:
    """Let the ledger and the schema's comment say what they said there, in the transaction."""
    conn, ledger = admin.connection, portrait.ledger
    if portrait.comment:
        words = identifiers.constant(portrait.comment)
        await conn.execute(f"COMMENT ON SCHEMA {quoted(schema.name)} IS {words}")
    if ledger.applied:
        await carried.give(conn, schema, ledger)
        move = Move("", ledger.digest, ledger.version)
        await conn.execute(stamp.sql(schema, portrait.comment, move))


@asynccontextmanager
async def model(
    admin: Administrator, portrait: Portrait, files: Files
) -> AsyncIterator[SchemaRef | None]:
    """Yield what *files* make of a schema, where the tenant comes from another major version.

    That version prints objects in other words, so that they cannot be compared with its own. Before
    the tenant's transaction, which holds locks on the tables that its foreign keys refer to.
    """
    if portrait.server == admin.connection.get_server_version().major:
        yield None
        return
    version = portrait.ledger.version
    migrations = files.until(version).tenant if version else ()
    async with replayed(admin.settings, migrations) as (_, made):
        yield made


async def prove(
    admin: Administrator,
    schema: SchemaRef,
    image: Image,
    made: SchemaRef | None,
    *,
    rights: bool,
) -> None:
    """Pass if *schema* has the objects that *image* has.

    Args:
        admin: of the database that *schema* is in.
        schema: poured.
        image: what of.
        made: of `model`.
        rights: whether grants are to be alike too.

    Raises:
        NotPortableError: they are others; names them.
    """
    conn, portrait = admin.connection, image.portrait
    if made is not None:
        found = await alike.differences(conn, schema, made, rights=False)
        differing = tuple(one for one in found if not _is_name_of_not_null(one))
    elif await fingerprint(conn, schema) == portrait.fingerprint:
        return
    else:
        _, is_owner = await admin.rights.grantee(schema.name)
        differing = likeness.differences(
            await likeness.objects(conn, admin, schema),
            await image.objects(),
            rights=rights and portrait.apart is not is_owner,
        )
    if differing:
        raise likeness.refused(differing)


def _is_name_of_not_null(one: Difference) -> bool:
    """Whether it is but the name of a NOT NULL, which had none before PostgreSQL 18."""
    return one.kind == "constraint" and not one.aspect and one.name.endswith("_not_null")
