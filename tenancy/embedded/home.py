"""The data directory, and the account that works in it."""

import os
import pwd
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import IO, NamedTuple, Self

from tenancy.errors import EmbeddedServerError

_OURS = re.compile(r"data\.new-.*|run|log|owner|lock|binaries-.*")
_FAULT = re.compile(r"\b(FATAL|PANIC|ERROR|error):")
_PREPARE = 'cd "$1" && mkdir -p run && : >>owner && : >>lock && : >>log'


def default_data_dir() -> Path:
    """Return where the server's data is when nobody says so: per user, and system-wide for root."""
    if os.geteuid() == 0:
        return Path("/var/lib/tenancy")
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support/tenancy"
    base = Path(os.environ.get("XDG_DATA_HOME", ""))
    # A relative one is invalid and to be ignored (XDG Base Directory Specification, "Basics").
    return (base if base.is_absolute() else Path.home() / ".local/share") / "tenancy"


class Account(NamedTuple):
    """Who the server runs as: the caller, or for root an account without privileges."""

    uid: int
    gid: int
    name: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """Return who runs a server at *path*: PostgreSQL refuses root, whose place its owner takes.

        Raises:
            EmbeddedServerError: root has no account to run it as.
        """
        uid = os.geteuid() or (path.stat().st_uid if path.exists() else 0)
        if uid:
            return cls.numbered(uid)
        for name in ("postgres", "nobody"):
            try:
                return cls(*pwd.getpwnam(name)[2:4], name)
            except KeyError:
                continue
        raise EmbeddedServerError(
            "PostgreSQL refuses to run as root, and there is no account postgres or nobody to run "
            "it: start as another user, or set TENANCY_DATABASE_URL"
        )

    @classmethod
    def numbered(cls, uid: int) -> Self:
        """Return the account *uid*, which need not have a name: containers run as any number."""
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            return cls(uid, os.getegid(), f"user {uid}")
        return cls(uid, entry.pw_gid, entry.pw_name)


class Home(NamedTuple):
    """A data directory that was looked at by `prepared`."""

    path: Path
    account: Account

    @property
    def data(self) -> Path:
        """PostgreSQL's own directory; it is there when it is whole."""
        return self.path / "data"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.path / "log"

    def opened(self, name: str) -> int:
        """Return a descriptor of the file *name*, which is the account's own and no link."""
        fd = os.open(self.path / name, os.O_RDWR | os.O_NOFOLLOW)
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode) and status.st_uid == self.account.uid:
            return fd
        os.close(fd)
        raise EmbeddedServerError(
            f"{self.path / name} is not a file of {self.account.name}: remove it, nothing is lost"
        )

    def keeps_private(self, directory: str | os.PathLike[str]) -> bool:
        """Tell whether *directory* is one, no link to one, and open to the account alone."""
        status = os.lstat(directory)
        return stat.S_ISDIR(status.st_mode) and (
            (status.st_uid, stat.S_IMODE(status.st_mode) & 0o077) == (self.account.uid, 0)
        )

    def spawn(
        self,
        *command: str | os.PathLike[str],
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.DEVNULL,
        stderr: int | IO[bytes] = subprocess.DEVNULL,
        new_session: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start *command* as the account, with an environment in which no PG* variable is set."""
        root = os.geteuid() == 0
        return subprocess.Popen(  # noqa: S603 - programs we found, arguments as a list
            command,
            bufsize=0,
            cwd="/",  # initdb and psql complain of a directory that the account cannot read
            # UTC: initdb would write this machine's zone into postgresql.conf.
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            umask=0o077,
            user=self.account.uid if root else None,
            group=self.account.gid if root else None,
            extra_groups=[] if root else None,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=new_session,
        )

    def run(
        self,
        *command: str | os.PathLike[str],
        stdin: int = subprocess.DEVNULL,
        text: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run *command* as the account to its end; *text*, if any, is its input."""
        with self.spawn(
            *command,
            stdin=stdin if text is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            out, err = process.communicate(None if text is None else text.encode())
        return subprocess.CompletedProcess(
            command, process.returncode, os.fsdecode(out), os.fsdecode(err)
        )


def prepared(path: Path) -> Home:
    """Return the home at *path*, made if there was none; what is already in it stays as it is.

    Raises:
        EmbeddedServerError: it is no directory, out of reach, somebody else's, or has other things.
    """
    try:
        account = Account.of(path)
        names = (
            [entry.name for entry in path.iterdir()] if path.exists() else _created(path, account)
        )
        _refuse_strange(path, account, names)
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    home = Home(path, account)
    # As the account: it must reach the place, and root must not write where that one plants a link.
    made = home.run("/bin/sh", "-c", _PREPARE, "sh", path)
    if made.returncode:
        raise _unusable(path, f"{account.name} cannot write there: {fault(made.stderr)}")
    if not home.keeps_private(path / "run"):
        raise _unusable(path, f"{path / 'run'} is not private to {account.name}: remove it")
    return home


def fault(text: str) -> str:
    """Return the line of a program's output that says why it failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["it said nothing"]
    return next((line for line in reversed(lines) if _FAULT.search(line)), lines[-1])


def _unusable(path: Path, why: str) -> EmbeddedServerError:
    return EmbeddedServerError(
        f"{path} cannot hold the embedded server ({why}): set TENANCY_DATA_DIR to another "
        "directory, or TENANCY_DATABASE_URL to a server"
    )


def _created(path: Path, account: Account) -> list[str]:
    above = next(parent for parent in path.parents if parent.exists())
    if Home(path, account).run("/bin/sh", "-c", 'cd "$1"', "sh", above).returncode:
        raise _unusable(path, f"{account.name}, who runs it, cannot enter {above}")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)  # another process may be here too
    return []


def _refuse_strange(path: Path, account: Account, names: list[str]) -> None:
    whole = (path / "data/PG_VERSION").exists()
    strange = sorted(name for name in names if not _OURS.fullmatch(name))
    if strange and not whole:
        raise _unusable(path, f"it holds other things: {', '.join(strange[:3])}")
    owner = path.stat().st_uid
    if os.geteuid() == owner == 0 and not names:  # new, or a volume just mounted
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
    elif owner != account.uid:
        raise _unusable(path, f"it belongs to {Account.numbered(owner).name}, not {account.name}")
