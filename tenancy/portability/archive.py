"""An exported tenant on disk: a directory, or the same as a ``.tar.gz``; for its owner alone.

``manifest.json``; ``structure/before.sql``, ``after.sql`` and ``objects.json``; ``rows/0001.copy``
and so on; and ``SHA256SUMS``, which ``sha256sum -c`` reads.
"""

import asyncio
import hashlib
import os
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
STRUCTURE = {Section.BEFORE: "structure/before.sql", Section.AFTER: "structure/after.sql"}
CHUNK_BYTES = 1_000_000

_TARBALL = (".tar.gz", ".tgz")
_NAMES = re.compile(
    r"manifest\.json|SHA256SUMS|structure/(before\.sql|after\.sql|objects\.json)|rows/\d{4,}\.copy"
)


def is_tarball(path: Path) -> bool:
    """Whether *path* is that of one file for all."""
    return path.name.endswith(_TARBALL)


class Writer:
    """A file that is being written, and what is to be said of it."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self._name = name
        self._file = file
        self._digest = hashlib.sha256()
        self._bytes = 0

    def write(self, chunk: bytes) -> None:
        """Add *chunk*."""
        self._file.write(chunk)
        self._digest.update(chunk)
        self._bytes += len(chunk)

    def done(self, rows: int | None = None) -> File:
        """Return what was written."""
        return File(name=self._name, sha256=self._digest.hexdigest(), bytes=self._bytes, rows=rows)


class Folder:
    """Where the files of an export are, as they are written."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def file(self, name: str) -> Iterator[Writer]:
        """Open the new file *name*."""
        path = self._path / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield Writer(name, file)
            file.flush()
            os.fsync(file.fileno())

    def close(self, whole: Manifest) -> None:
        """Write *whole*, and the sums of all."""
        with self.file(MANIFEST) as writer:
            writer.write(whole.text().encode())
            last = writer.done()
        sums = "".join(f"{one.sha256}  {one.name}\n" for one in (*whole.files, last))
        with self.file(SUMS) as writer:
            writer.write(sums.encode())


@asynccontextmanager
async def written(to: Path) -> AsyncIterator[Folder]:
    """Yield a folder that is at *to*, or packed at *to*, once the block has ended well.

    Until then, and where it does not, there is nothing at *to*.

    Raises:
        ArchiveError: something is there already, or it cannot be written.
    """
    with _writing(to):
        place = await asyncio.to_thread(_begun, to)
    try:
        yield Folder(place)
        with _writing(to):
            await asyncio.to_thread(_ended, place, to)
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


@contextmanager
def _writing(to: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArchiveError(f"{to} cannot be written: {error.strerror}") from error


def _refuse_present(to: Path) -> None:
    if to.exists() or to.is_symlink():  # an empty directory would be replaced in silence
        raise ArchiveError(f"{to} is there already: name another place, or remove it")


def _begun(to: Path) -> Path:
    _refuse_present(to)
    return Path(tempfile.mkdtemp(prefix=f".{to.name}-", dir=to.parent))  # for its owner alone


def _ended(place: Path, to: Path) -> None:
    if not is_tarball(to):
        _refuse_present(to)
        place.rename(to)
        return
    packed = place / "packed"
    with os.fdopen(os.open(packed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(place.rglob("*")):
                if path.is_file() and path != packed:
                    tar.add(path, str(path.relative_to(place)), filter=_nobodys)
        file.flush()
        os.fsync(file.fileno())
    _refuse_present(to)
    packed.rename(to)


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return *member* without the account that it was written by."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


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
        text = await self._checked(self.whole.structure[section is Section.AFTER])
        return [one.text for one in split(tokens(text.decode()))]

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
    try:
        with tarfile.open(path, "r:gz") as tar:
            for member in tar:
                if not member.isfile() or not _NAMES.fullmatch(member.name):
                    raise ArchiveError(f"{path} is no exported tenant: it holds {member.name!r}")
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
