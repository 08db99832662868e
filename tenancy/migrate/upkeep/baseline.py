"""Schemas that were there before the ledger: marked as standing where they do, and proved to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import asyncpg

from tenancy.exits import Exit
from tenancy.migrate.files.folder import load_all
from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger import baselines, checkpoints, fingerprints, stamp
from tenancy.migrate.ledger.members import Member, members_of
from tenancy.migrate.ledger.records import Baseline, Move, SchemaRef
from tenancy.migrate.ledger.selection import Selection
from tenancy.migrate.plan.survey import refuse_unknown
from tenancy.migrate.shape.description import Object, describe
from tenancy.migrate.shape.differences import differences
from tenancy.migrate.shape.fingerprint import fingerprint
from tenancy.migrate.upgrade import lock
from tenancy.migrate.upgrade.scratch import replayed
from tenancy.migrate.upgrade.session import Session
from tenancy.migrate.upkeep.census import GONE, Census
from tenancy.migrate.upkeep.verdicts import Odd, Shape, grouped
from tenancy.migrate.upkeep.verify import PARALLEL, refuse_without_shapes
from tenancy.settings import Settings

NAME = "baseline"


@dataclass(slots=True)
class Baselined:
    """What came of it.

    Attributes:
        version: at which the tenants stand now.
        done: slugs of those that were marked, in this call.
        already: slugs of those that stood there by a baseline.
        refused: slugs of others, and why.
        odd: those that were refused because they are not what the files make, and how.
    """

    version: str
    done: list[str] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    odd: list[Odd] = field(default_factory=list)

    @property
    def exit_code(self) -> Exit:
        """0: all that were asked for stand at the version."""
        return Exit.REFUSED if self.refused or self.odd else Exit.CURRENT


async def baseline(  # noqa: PLR0913 - the options of the command, by name
    settings: Settings,
    version: str,
    *,
    tenants: Sequence[str] = (),
    unproven: bool = False,
    parallel: int = PARALLEL,
    watch: Callable[[int], None] = lambda _more: None,
) -> Baselined:
    """Mark tenants' schemas as having all files up to *version*, none of which is run.

    Each schema is compared first with one that is made of those files and dropped again. Those that
    stand at the version by a baseline already are left as they are.

    Args:
        settings: where the database and the files are.
        version: of a file; leading zeros may be left out.
        tenants: slugs; empty: all tenants of whose schemas the ledger has nothing.
        unproven: take the schemas as they are, uncompared.
        parallel: connections that compare.
        watch: called with how many more schemas have been compared.

    Raises:
        UnknownVersionError: no file has the version.
        UnknownTenantError: no tenant has one of the slugs.
        RunLockHeldError: a run is migrating this database.
        MigrationRefusedError: the catalog is not there or behind.
        MigrationFileError, MigrationFailedError: a file cannot be applied.
    """
    files = load_all(settings).until(version).tenant
    version = files[-1].version
    found = Baselined(version)
    async with Session(settings) as session:
        conn = await session.connection()
        await refuse_without_shapes(conn)
        await lock.take_run(conn)
        selection = Selection(tenants=tuple(tenants))
        await refuse_unknown(conn, selection, empty=False)
        fleet = await members_of(conn, selection)
        base = Baseline(version, files[-1].digest)
        members = await _bare(conn, fleet, base, found, named=bool(tenants))
        census = Census(settings, parallel, watch)
        if members and not unproven:
            await census.take(members, store=False)
            found.refused |= census.left_out
            members = await _proved(settings, files, census, found)
        for member in members:
            await _mark(conn, member, base, census.taken.get(member), found)
    return found


async def _bare(
    conn: asyncpg.Connection,
    fleet: Sequence[Member],
    base: Baseline,
    found: Baselined,
    *,
    named: bool,
) -> list[Member]:
    """Return those of *fleet* of which the ledger has nothing; says of the others why not."""
    bare = []
    for member in fleet:
        history = await checkpoints.history(conn, member.oid) if member.oid else None
        if history is None:
            if named:
                found.refused[member.slug] = GONE
        elif not history.newest and not member.digest:
            bare.append(member)
        elif history.baseline == base:
            found.already.append(member.slug)
        elif named:
            found.refused[member.slug] = (
                f"the ledger has it at {member.version or history.newest}: a baseline is only for "
                "schemas of which it has nothing"
            )
    return bare


async def _proved(
    settings: Settings, files: tuple[Migration, ...], census: Census, found: Baselined
) -> list[Member]:
    """Return those whose schema is what *files* make, and tell how the others differ."""
    right, objects = await _made(settings, files)
    proved: list[Member] = []
    wrong: list[tuple[Shape, list[Member]]] = []
    for shape, members in grouped(census.taken).items():
        if shape.fingerprint == right:
            proved += members
        else:
            wrong.append((shape, members))

    async def look(session: Session, group: tuple[Shape, list[Member]]) -> None:
        portrait = await census.portrait(session, *group)
        if portrait is not None:
            slugs = tuple(one.slug for one in group[1] if one.slug not in census.left_out)
            unlike = differences(portrait.objects, objects)
            found.odd.append(Odd(slugs, found.version, unlike))
        found.refused |= census.left_out

    await census.each(wrong, look)
    return proved


async def _made(settings: Settings, files: tuple[Migration, ...]) -> tuple[str, tuple[Object, ...]]:
    """Return the shape of a schema that *files* were applied to, which is dropped again."""
    async with replayed(settings, files) as (session, schema):
        conn = await session.connection()
        return await fingerprint(conn, schema), await describe(conn, schema)


async def _mark(
    conn: asyncpg.Connection,
    member: Member,
    base: Baseline,
    shape: Shape | None,
    found: Baselined,
) -> None:
    schema = SchemaRef(member.oid or 0, member.schema)
    try:
        async with conn.transaction():
            await lock.claim(conn, schema.oid)
            await baselines.record(conn, schema, base, name=NAME)
            if shape is not None:
                await fingerprints.store(conn, {schema.oid: (base.digest, shape.fingerprint)})
            move = Move("", base.digest, base.version)
            await conn.execute(stamp.sql(schema, member.comment, move))
    except asyncpg.InvalidSchemaNameError:
        found.refused[member.slug] = GONE
    except (lock.LockHeldError, checkpoints.AlreadyAppliedError) as error:
        found.refused[member.slug] = str(error)
    else:
        found.done.append(member.slug)
