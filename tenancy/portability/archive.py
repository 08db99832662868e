"""An exported tenant on disk: a directory, or the same as a ``.tar.gz``; for its owner alone.

``manifest.json``; ``structure/before.sql``, ``after.sql``, ``rights.sql`` and ``objects.json``;
``rows/0001.copy`` and so on; and ``SHA256SUMS``, which ``sha256sum -c`` reads.
"""

import asyncio
import hashlib
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO

from tenancy.errors import ArchiveError
from tenancy.migrate.files.splitter import split, tokens
from tenancy.migrate.shape.description import Object
from tenancy.migrate.shape.libpq import Section
from tenancy.portability import likeness, manifest
from tenancy.portability.manifest import File, Manifest, Portrait, Table

MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
OBJECTS = "structure/objects.json"
RIGHTS = "structure/rights.sql"
STRUCTURE = {Section.BEFORE: "structure/before.sql", Section.AFTER: "structure/after.sql"}
CHUNK_BYTES = 1_000_000
SHARE = 2  # of the free disk that one that is unpacked may fill: one in so many

_NAMES = re.compile(
    r"manifest\.json|SHA256SUMS|structure/(before\.sql|after\.sql|rights\.sql|objects\.json)|rows/\d{4,}\.copy"
)


class _Stored:
    """The rows of one table in its file, checked as they are read."""

    def __init__(self, path: Path, file: File, where: Path) -> None:
        self._path, self._file, self._where = path, file, where

    async def chunks(self) -> AsyncIterator[bytes]:
        digest = hashlib.sha256()
        with _opened(self._path, self._file.name, self._where) as stream:
            while chunk := await asyncio.to_thread(stream.read, CHUNK_BYTES):
                digest.update(chunk)
                yield chunk
        _refuse_unless_same(digest.hexdigest(), self._file, self._where)

    async def count(self) -> int:
        return self._file.rows or 0


class Archive:
    """An exported tenant; an `image.Image`."""

    def __init__(self, folder: Path, where: Path, whole: Manifest) -> None:
        self._folder = folder
        self._where = where
        self.whole = whole
        tables = zip(whole.portrait.tables, whole.rows_of, strict=True)
        self._files = {table.name: file for table, file in tables}

    @property
    def portrait(self) -> Portrait:
        """What is known of it."""
        return self.whole.portrait

    async def structure(self, section: Section) -> list[str]:
        """Return the statements of *section*, which make the objects in any schema.

        Raises:
            ArchiveError: they are not what was written.
        """
        return await self._statements(self.whole.structure[section is Section.AFTER])

    async def rights(self) -> list[str]:
        """Return the statements that say who may do what there, see `grants`.

        Raises:
            ArchiveError: they are not what was written.
        """
        return await self._statements(self.whole.rights)

    async def objects(self) -> tuple[Object, ...]:
        """Return what that makes, object by object, as `likeness.objects` tells it.

        Raises:
            ArchiveError: they are not what was written.
        """
        return likeness.read(await self._checked(self.whole.objects))

    @asynccontextmanager
    async def rows(self, table: Table) -> AsyncIterator[_Stored]:
        """Open the rows of *table*."""
        file = self._files[table.name]
        yield _Stored(self._folder / file.name, file, self._where)

    async def _statements(self, file: File) -> list[str]:
        return [one.text for one in split(tokens((await self._checked(file)).decode()))]

    async def _checked(self, file: File) -> bytes:
        with _opened(self._folder / file.name, file.name, self._where) as stream:
            text = await asyncio.to_thread(stream.read)
        _refuse_unless_same(hashlib.sha256(text).hexdigest(), file, self._where)
        return text


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Archive]:
    """Yield the export at *path*; one that is packed is unpacked for the time of the block.

    Raises:
        ArchiveError: it is none, or its manifest is not as it was written.
    """
    if not await asyncio.to_thread(path.is_file):
        yield await asyncio.to_thread(_read, path, path)
        return
    with tempfile.TemporaryDirectory(prefix="tenancy-import-") as name:
        folder = Path(name)
        await asyncio.to_thread(_unpacked, path, folder)
        yield await asyncio.to_thread(_read, folder, path)


def _unpacked(path: Path, to: Path) -> None:
    room = shutil.disk_usage(to).free // SHARE
    try:
        with tarfile.open(path, "r:gz") as tar:
            for member in tar:
                if not member.isfile() or not _NAMES.fullmatch(member.name):
                    raise ArchiveError(f"{path} is no exported tenant: it holds {member.name!r}")
                room -= member.size
                if room < 0:  # a few kilobytes can be packed of terabytes
                    raise ArchiveError(
                        f"{path} has no room in {to.parent}, unpacked: set TMPDIR, or unpack it"
                    )
                file = to / member.name
                file.parent.mkdir(mode=0o700, exist_ok=True)
                stream = tar.extractfile(member)
                with file.open("xb") as target:
                    if stream is not None:
                        shutil.copyfileobj(stream, target, CHUNK_BYTES)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ArchiveError(f"{path} is no exported tenant, or only a part of one") from error
    except OSError as error:  # a bad gzip file is one too
        raise ArchiveError(f"{path} cannot be unpacked: {error.strerror or error}") from error


def _read(folder: Path, where: Path) -> Archive:
    try:
        text = (folder / MANIFEST).read_bytes()
        sums = (folder / SUMS).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ArchiveError(
            f"{where} is no exported tenant: it has no {MANIFEST} with its {SUMS}"
        ) from error
    if f"{hashlib.sha256(text).hexdigest()}  {MANIFEST}\n" not in sums:
        raise _damaged(where, MANIFEST)
    whole = manifest.read(text, str(where))
    for file in whole.files:
        if not _NAMES.fullmatch(file.name):
            raise ArchiveError(f"{where}: its manifest names the file {file.name!r}")
    return Archive(folder, where, whole)


@contextmanager
def _opened(path: Path, name: str, where: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as stream:
            yield stream
    except FileNotFoundError as error:
        raise ArchiveError(f"{where} lacks its file {name}") from error


def _refuse_unless_same(digest: str, file: File, where: Path) -> None:
    if digest != file.sha256:
        raise _damaged(where, file.name)


def _damaged(where: Path, name: str) -> ArchiveError:
    return ArchiveError(f"{where}: {name} is damaged, or was edited: its sha256 is another")
