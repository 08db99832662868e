"""Writing what `archive` reads: all of it, or nothing."""

import asyncio
import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO

from tenancy.errors import ArchiveError
from tenancy.portability.archive import MANIFEST, SUMS
from tenancy.portability.manifest import File, Manifest

_TARBALL = (".tar.gz", ".tgz")


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


async def refuse_unfit(to: Path) -> None:
    """Pass if `written` could begin at *to*, and leave nothing there.

    Raises:
        ArchiveError: as `written`.
    """
    with _writing(to):
        place = await asyncio.to_thread(_begun, to)
        await asyncio.to_thread(place.rmdir)


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
