"""Making a snapshot, and proving it, before anybody starts from it."""

import logging
import os
import re
import tempfile
from pathlib import Path

import asyncpg

from tenancy.errors import MigrationRefusedError
from tenancy.migrate.files.folder import load_all
from tenancy.migrate.files.model import Migration, target
from tenancy.migrate.ledger import checkpoints
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.origin import alike
from tenancy.migrate.plan.stages import refuse_unless_current
from tenancy.migrate.shape import dump, seeds
from tenancy.migrate.shape.fingerprint import fingerprint
from tenancy.migrate.shape.libpq import Section, dumped
from tenancy.migrate.shape.seeds import Seeds
from tenancy.migrate.shape.snapshot import LABEL, Snapshot
from tenancy.migrate.upgrade import fresh
from tenancy.migrate.upgrade.scratch import replay, scratch
from tenancy.migrate.upgrade.session import Session
from tenancy.settings import Settings

MANY_ROWS = 10_000
LARGE_BYTES = 1_000_000

_log = logging.getLogger(__name__)
_GRANTS = re.compile(r"\b(grant|revoke)\b", re.IGNORECASE)


async def snapshot(
    settings: Settings, *, with_seeds: bool = True, frozen: bool = False
) -> Snapshot:
    """Return a new snapshot of all files of tenants, proved; writes nothing.

    The files are applied to a schema of its own, which is dumped; the dump makes a second one, and
    both must be alike, shape and rows.

    Args:
        settings: where the database and the files are.
        with_seeds: take along the rows that the files insert; else refuse where there are any.
        frozen: give every tenant the values of this one run where they differ from run to run and
            no default makes them.

    Raises:
        MigrationRefusedError: the catalog or the shared schema is behind, there are rows and may
            not be, or values that differ from run to run, or the proof fails; says where.
        MigrationFileError, MigrationFailedError: a file cannot be applied.
        DatabaseSetupError: no pg_dump fits the server, or the login lacks a right.
    """
    files = load_all(settings)
    async with Session(settings) as session:
        await session.query(lambda conn: refuse_unless_current(conn, settings, files))
    if not files.tenant:
        raise MigrationRefusedError("there is no file in tenant/ to make a snapshot of")
    async with Session(settings) as session, scratch(session) as schema:
        shared = settings.shared_schema
        await replay(session, schema, files.tenant, shared=shared)
        conn = await session.connection()
        rows = await seeds.read(conn, schema)
        if rows.tables:
            _refuse_seeds(rows, with_seeds=with_seeds)
            rows = await _settled(session, rows, files.tenant, frozen=frozen)
        snapshot = Snapshot(
            files.tenant[-1].version,
            target(files.tenant),
            await world(conn, shared),
            conn.get_server_version().major,
            await fingerprint(conn, schema),
            await _body(conn, settings, schema, rows, files.tenant),
        )
        await _prove(session, schema, snapshot, rows)
        return snapshot


async def world(conn: asyncpg.Connection, shared: str) -> str:
    """Return what a snapshot is made in beside its files: `shape.snapshot.Snapshot.shared`."""
    found = await checkpoints.schema(conn, shared)
    return f"{shared} {await checkpoints.digest(conn, found) if found else ''}".rstrip()


def written(snapshot: Snapshot, sql_folder: Path) -> Path:
    """Write *snapshot* where new tenants find it, whole or not at all; return where."""
    path = sql_folder / LABEL
    path.parent.mkdir(exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".tenant-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(snapshot.text)
            file.flush()
            os.fsync(descriptor)
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def _refuse_seeds(rows: Seeds, *, with_seeds: bool) -> None:
    if not with_seeds:
        tables = ", ".join(table.name for table in rows.tables)
        raise MigrationRefusedError(f"the files insert rows: {tables}")
    if rows.rows > MANY_ROWS:
        _log.warning("the snapshot holds %s rows: each new tenant gets them all", rows.rows)


async def _settled(
    session: Session, rows: Seeds, migrations: tuple[Migration, ...], *, frozen: bool
) -> Seeds:
    """Return *rows* with what differs from replay to replay left to the columns' defaults."""
    async with scratch(session) as second:
        await replay(session, second, migrations, shared=session.settings.shared_schema)
        again = await seeds.read(await session.connection(), second)
    settled, faults = seeds.settled(rows, again)
    if faults and not frozen:
        raise MigrationRefusedError(
            f"the files insert other values each time into {', '.join(faults)}, and no default "
            "makes them: write them down in the files, or give every tenant those of this run "
            "with --frozen"
        )
    return settled


async def _body(
    conn: asyncpg.Connection,
    settings: Settings,
    schema: SchemaRef,
    rows: Seeds,
    migrations: tuple[Migration, ...],
) -> str:
    shared, name = settings.shared_schema, schema.name
    found: list[str] = []
    for section in Section:
        text = await dumped(
            settings.admin_dsn,
            name,
            section,
            major=conn.get_server_version().major,
            privileges=any(_GRANTS.search(one.source.text) for one in migrations),
        )
        if section is Section.AFTER:
            found += seeds.statements(rows)
        found += dump.statements(text, name, shared)
    body = "".join(f"{statement};\n\n" for statement in found)
    if len(body) > LARGE_BYTES:
        _log.warning("the snapshot is %.1f MB large", len(body) / 1e6)
    return body


async def _prove(session: Session, schema: SchemaRef, snapshot: Snapshot, rows: Seeds) -> None:
    """Make a second schema from *snapshot*, and compare it with the first.

    Raises:
        MigrationRefusedError: names what differs.
    """
    async with scratch(session) as second:
        conn = await session.connection()
        async with conn.transaction():
            await fresh.pour(conn, second, snapshot, shared=session.settings.shared_schema)
        await session.forget()
        differing = seeds.same(rows, await seeds.read(conn, second))
        if await fingerprint(conn, second) != snapshot.fingerprint:
            differing += map(str, await alike.differences(conn, second, schema))
    if differing:
        raise MigrationRefusedError(
            "a schema made from the snapshot is not like one made from the files: "
            + "; ".join(differing)
        )
