"""A tenant to a file."""

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tenancy.portability import likeness, packing
from tenancy.portability.archive import OBJECTS, RIGHTS, STRUCTURE
from tenancy.portability.image import Image
from tenancy.portability.living import living
from tenancy.portability.manifest import File, Manifest, Table
from tenancy.portability.packing import Folder, Writer
from tenancy.provision import Actor, Hooks, Profile, Step, administrator
from tenancy.provision.lasting import begun
from tenancy.settings import Settings
from tenancy.tenant import State


@dataclass(frozen=True, slots=True)
class Exported:
    """What was exported, and where to.

    Attributes:
        bytes: of all files, before they were packed.
    """

    profile: Profile
    path: Path
    tables: int
    rows: int
    bytes: int


async def export(  # noqa: PLR0913 - what, and on whose behalf, by name
    settings: Settings,
    slug: str,
    to: Path,
    *,
    reason: str | None = None,
    actor: Actor | None = None,
    hooks: Hooks | None = None,
) -> Exported:
    """Write the tenant called *slug* to the new directory *to*, or packed where it ends in .tar.gz.

    All of it as of one moment, with checksums, and readable by this account alone. Requests go on
    meanwhile; no file is applied to it. Where it ends early there is nothing at *to*.

    Args:
        settings: of the deployment.
        slug: the tenant's, in whichever state it is.
        to: where nothing is yet.
        reason: for the audit.
        actor: on whose behalf; by default the account that this process runs as.
        hooks: of the deployment.

    Raises:
        UnknownTenantError: there is none.
        ArchiveError: something is at *to*, or it cannot be written.
        LockHeldError: its schema is being migrated.
        MigrationRefusedError: a file was begun there, and not finished.
        DatabaseSetupError: no pg_dump fits the server, or the owner may not read a table.
    """
    async with (
        administrator(settings, actor=actor, hooks=hooks) as admin,
        begun(admin, Step.EXPORT, slug, reason=reason, detail={"to": to.name}) as event,
    ):
        profile = await admin.show(slug)
        # Of one that was deleted, with what was still being written then.
        still = profile.tenant.state is State.DELETING
        async with packing.written(to) as folder, living(admin, profile, still=still) as image:
            whole = await _pack(image, folder)
        event.detail |= {"rows": whole.rows}
    return Exported(
        *(profile, to, len(whole.portrait.tables), whole.rows),
        bytes=sum(file.bytes for file in whole.files),
    )


async def _pack(image: Image, folder: Folder) -> Manifest:
    at = datetime.now(UTC)
    before, after = [
        _pack_statements(folder, name, await image.structure(section))
        for section, name in STRUCTURE.items()
    ]
    rights = _pack_statements(folder, RIGHTS, await image.rights())
    objects = _pack_text(folder, OBJECTS, likeness.written(await image.objects()).decode())
    files: list[File] = []
    for number, table in enumerate(image.portrait.tables, start=1):
        with folder.file(f"rows/{number:04d}.copy") as writer:
            files.append(await _pack_rows(image, table, writer))
    whole = Manifest(
        tenancy=version("tenancy"),
        exported_at=at,
        portrait=image.portrait,
        structure=(before, after),
        rights=rights,
        objects=objects,
        rows_of=tuple(files),
    )
    folder.close(whole)
    return whole


def _pack_statements(folder: Folder, name: str, statements: list[str]) -> File:
    return _pack_text(folder, name, "".join(f"{one};\n\n" for one in statements))


def _pack_text(folder: Folder, name: str, text: str) -> File:
    with folder.file(name) as writer:
        writer.write(text.encode())
        return writer.done()


async def _pack_rows(image: Image, table: Table, writer: Writer) -> File:
    async with image.rows(table) as rows:
        async for chunk in rows.chunks():
            writer.write(chunk)
        return writer.done(await rows.count())
