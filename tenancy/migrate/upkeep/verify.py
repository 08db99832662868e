"""Are the tenants alike? Every schema against the others with the same files."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import asyncpg

from tenancy.errors import MigrationRefusedError
from tenancy.migrate.files.folder import load_all
from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger import checkpoints
from tenancy.migrate.ledger.members import Member, canary, members_of, schema_names
from tenancy.migrate.ledger.selection import Selection
from tenancy.migrate.plan.survey import refuse_unknown
from tenancy.migrate.shape import strangers
from tenancy.migrate.shape.description import Object, describe
from tenancy.migrate.shape.differences import Difference, differences, shortened
from tenancy.migrate.shape.fingerprint import fingerprint
from tenancy.migrate.upgrade.scratch import replay, scratch
from tenancy.migrate.upgrade.session import Session
from tenancy.migrate.upkeep import health
from tenancy.migrate.upkeep.census import CHANGED, GONE, Census
from tenancy.migrate.upkeep.verdicts import (
    Fault,
    Odd,
    Shape,
    Verification,
    grouped,
    references,
)
from tenancy.settings import Settings

PARALLEL = 4
WHOLE_VALUES = 100  # shapes whose differences are kept in full length; a fleet may have thousands

_Portraits = dict[str, tuple[Object, ...]]


async def verify(  # noqa: PLR0913 - the options of the command, by name
    settings: Settings,
    *,
    tenants: Sequence[str] = (),
    against: str | None = None,
    parallel: int = PARALLEL,
    store: bool = False,
    watch: Callable[[int], None] = lambda _more: None,
) -> Verification:
    """Compare the schemas of tenants to which the same files were applied; changes none of them.

    Args:
        settings: where the database and the files are.
        tenants: slugs; empty: all.
        against: the slug of a tenant that is right; ``canary``: the one that the last run began
            with; ``files``: a schema made of the files, which is dropped again. None: what most
            tenants are like.
        parallel: connections.
        store: note the fingerprints in the ledger.
        watch: called with how many more schemas have been looked at.

    Raises:
        UnknownTenantError: no tenant has one of the slugs.
        MigrationRefusedError: the catalog is not there or behind, or there is no canary.
        MigrationFileError, MigrationFailedError: against files that cannot be applied.
        DatabaseUnavailableError, DatabaseSetupError, SettingsError: it cannot be reached or used.
    """
    files = load_all(settings).tenant if against == "files" else ()
    async with Session(settings) as session:
        conn = await session.connection()
        await refuse_without_shapes(conn)
        model = await _model(conn, against)
        asked = [*tenants, *([model] if model else [])]
        await refuse_unknown(conn, Selection(tenants=tuple(asked)), empty=False)
        members = await members_of(conn, Selection(tenants=tuple(asked) if tenants else ()))
        names = await schema_names(conn)
        census = Census(settings, parallel, watch)
        census.left_out |= {one.slug: GONE for one in members if one.oid is None}
        await census.take([one for one in members if one.oid], store=store)
        portraits: _Portraits = {}
        if against == "files":
            right = await _of_files(session, files, settings, census, portraits)
        else:
            right = _of_fleet(census, model)
        found = await _compared(census, right, portraits, names)
        flaws = await health.examine(await session.connection(), list(census.taken))
        return Verification(
            _words(against, model),
            found.alike,
            tuple(found.odd),
            (*found.faults, *flaws),
            dict(sorted(census.left_out.items())),
        )


async def refuse_without_shapes(conn: asyncpg.Connection) -> None:
    """Pass if the catalog can tell shapes.

    Raises:
        MigrationRefusedError: it is not there, or is behind.
    """
    there = await checkpoints.exists(conn) and await conn.fetchval(
        "SELECT pg_catalog.to_regproc('tenancy.fingerprint') IS NOT NULL"
    )
    if not there:
        raise MigrationRefusedError("the catalog is behind: run `python -m tenancy.migrate` first")


async def _model(conn: asyncpg.Connection, against: str | None) -> str | None:
    """Return the slug of the tenant that the others are to be like, where one is."""
    if against in {None, "files"}:
        return None
    if against != "canary":
        return against
    slug = await canary(conn)
    if slug is None:
        raise MigrationRefusedError("there is no canary: no run has applied anything to a tenant")
    return slug


def _words(against: str | None, model: str | None) -> str:
    if against == "files":
        return "the files"
    return f"{'the canary ' if against == 'canary' else ''}{model}" if model else "most tenants"


def _of_fleet(census: Census, model: str | None) -> Mapping[str, str]:
    """Return the right fingerprint of each digest, by what most tenants or the *model* have."""
    if model is None:
        return references(census.taken.values())
    right = {
        shape.digest: shape.fingerprint
        for member, shape in census.taken.items()
        if member.slug == model
    }
    for member, shape in list(census.taken.items()):
        if shape.digest not in right:
            census.left_out[member.slug] = f"it does not stand where {model} does"
            del census.taken[member]
    return right


async def _of_files(
    session: Session,
    files: tuple[Migration, ...],
    settings: Settings,
    census: Census,
    portraits: _Portraits,
) -> Mapping[str, str]:
    """Return the fingerprints of a schema on its way through *files*, where a tenant stands."""
    wanted = {shape.digest for shape in census.taken.values()}
    right: dict[str, str] = {}
    async with scratch(session) as schema:
        for migration in (None, *files):
            if migration is not None:
                await replay(session, schema, (migration,), shared=settings.shared_schema)
            digest = migration.digest if migration else ""
            if digest in wanted:
                conn = await session.connection()
                right[digest] = await fingerprint(conn, schema)
                portraits[digest] = await describe(conn, schema)
            if wanted <= right.keys():
                break
    for member, shape in list(census.taken.items()):
        if shape.digest not in right:
            census.left_out[member.slug] = "what was applied to it is not in the files"
            del census.taken[member]
    return right


class _Found:
    """What the comparison has found so far."""

    def __init__(self, names: AbstractSet[str]) -> None:
        self.alike: dict[str, int] = {}
        self.odd: list[Odd] = []
        self.faults: list[Fault] = []
        self._names = names
        self._known: dict[Difference, Difference] = {}

    def like_the_others(self, members: Sequence[Member]) -> None:
        version = members[0].version or "nothing"
        self.alike[version] = self.alike.get(version, 0) + len(members)

    def unlike(self, members: Sequence[Member], found: Sequence[Difference]) -> None:
        if len(self.odd) >= WHOLE_VALUES:
            found = [shortened(one) for one in found]
        told = tuple(self._known.setdefault(one, one) for one in map(self._masked, found))
        slugs = tuple(member.slug for member in members)
        self.odd.append(Odd(slugs, members[0].version or "nothing", told))

    def name_strangers(self, members: Sequence[Member], objects: Sequence[Object]) -> None:
        slugs = tuple(member.slug for member in members)
        for one in strangers.naming(objects, self._names):
            words = f"{one.kind} {one.name}: names the schema of another tenant"
            self.faults.append(Fault(slugs, words))

    def _masked(self, one: Difference) -> Difference:
        values = (text and strangers.masked(text, self._names) for text in (one.here, one.there))
        return Difference(one.kind, one.name, one.aspect, *values)


async def _compared(
    census: Census, right: Mapping[str, str], portraits: _Portraits, names: AbstractSet[str]
) -> _Found:
    found = _Found(names)
    groups = sorted(grouped(census.taken).items(), key=lambda group: -len(group[1]))
    first = [group for group in groups if right[group[0].digest] == group[0].fingerprint]
    rest = [one for one in groups if right[one[0].digest] != one[0].fingerprint]

    async def look(session: Session, group: tuple[Shape, list[Member]]) -> None:
        shape, members = group
        portrait = await census.portrait(session, shape, members)
        await session.recycle()
        if portrait is None:
            return
        known = [one for one in members if one.slug not in census.left_out]
        found.name_strangers(known, portrait.objects)
        if right[shape.digest] == shape.fingerprint:
            portraits.setdefault(shape.digest, portrait.objects)
            found.like_the_others(known)
        elif shape.digest in portraits:
            found.unlike(known, differences(portrait.objects, portraits[shape.digest]))
        else:
            census.left_out |= dict.fromkeys((one.slug for one in known), CHANGED)

    await census.each(first, look)
    await census.each(rest, look)
    found.odd.sort(key=lambda one: (-len(one.slugs), one.slugs))
    return found
