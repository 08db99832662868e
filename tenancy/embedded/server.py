"""One server: started, found running, stopped; and stopped when its owner is gone."""

import fcntl
import os
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from tenancy.embedded import binaries
from tenancy.embedded.home import Home, fault, prepared
from tenancy.errors import EmbeddedServerError

READY_SECONDS = 120.0  # a start after a crash replays the write-ahead log first
STOP_SECONDS = 30.0
_FAST_SECONDS = 10  # of a fast shutdown, before an immediate one, which leaves a log to replay
_PATIENCE_SECONDS = 1.0  # of a watchdog, before we tell its server ourselves
_POLL_SECONDS = 0.005
_PORT = 5432  # no TCP: it only names the socket
_SOCKET = f".s.PGSQL.{_PORT}"
_SOCKET_PATH_BYTES = 103  # sun_path holds 104 bytes on macOS, 108 on Linux, with the final NUL
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # answered N or S ("Message Formats", SSLRequest)

# Its stdin is a pipe from the owner; a newline or the pipe's end says: stop. Its stdout is the file
# `lock`, which becomes the server's stdin, so that both hold it. INT is repeated: a process in sh's
# background ignores it until it sets handlers of its own. QUIT is for PostgreSQL 18.4, which may
# never end if INT finds it recovering from a child's kill -9.
_WATCHDOG = """
log=$1 sockets=$2 patience=$3; shift 3
exec 3<&0
"$@" 0<&1 >>"$log" 2>&1 3<&- &
server=$!
trap '' HUP INT TERM
{
  read -r _
  while kill -INT $server; do
    [ $patience -gt 0 ] || kill -QUIT $server
    patience=$((patience - 1))
    sleep 1
  done
} <&3 >/dev/null &
wait $server
[ -z "$sockets" ] || rmdir "$sockets"
kill -KILL 0  # our process group: the reader of the pipe, and its sleep
"""


class Server:
    """A running server.

    Attributes:
        data_dir: the absolute path of its data directory.
        owned: whether this process started it: it stops when this process ends, in any way.
    """

    def __init__(
        self,
        home: Home,
        sockets: str,
        watchdog: subprocess.Popen[bytes] | None = None,
        owner: int = -1,
    ) -> None:
        self.data_dir = home.path
        self.owned = watchdog is not None
        self.home = home
        self._sockets = sockets
        self._watchdog = watchdog
        self._owner = owner
        self._pid = os.getpid()

    def url(self, user: str, database: str) -> str:
        """Return an address for asyncpg and libpq alike; no variable such as PGPORT changes it."""
        return _url(user, database, self._sockets, str(_PORT))

    def stop(self) -> None:
        """End the server and its sessions, if this process owns it.

        Raises:
            EmbeddedServerError: it has not ended after `STOP_SECONDS`; it still will.
        """
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is None or self._pid != os.getpid():  # a forked child is not the owner
            return
        try:
            os.ftruncate(self._owner, 0)  # from here on nobody attaches
            _end(self.home, watchdog)
        finally:
            # Closing is not enough: a forked child may have inherited the descriptor, lock and all.
            fcntl.flock(self._owner, fcntl.LOCK_UN)
            os.close(self._owner)


def start(data_dir: Path, *, options: Mapping[str, str] = MappingProxyType({})) -> Server:
    """Return the server of *data_dir*, owned by this process, or by another that runs it already.

    Waits for a server that is just starting or stopping. One whose owner and watchdog were both
    killed is stopped first.

    Args:
        data_dir: made if missing; see `tenancy.embedded` for what it holds.
        options: settings of postgres ("19. Server Configuration"), ignored where it runs already.

    Raises:
        EmbeddedServerError: it cannot run there; the message says why and what to do.
    """
    home = prepared(data_dir.expanduser().absolute())
    try:
        owner = home.opened("owner")
        try:
            sockets = _awaited(home, owner)
            if sockets is None:
                return _owned(home, owner, options)
        except BaseException:
            os.close(owner)
            raise
        os.close(owner)
        return Server(home, sockets)
    except OSError as error:
        raise EmbeddedServerError(
            f"the server in {home.path} cannot be started: {error}"
        ) from error


def _awaited(home: Home, owner: int) -> str | None:
    """Return where the server of another owner listens; None once this process is the owner."""
    deadline = time.monotonic() + READY_SECONDS
    while not _locked(owner):
        pid, _, sockets = os.fsdecode(os.pread(owner, 4096, 0)).partition("\n")
        if sockets and _answers(home, sockets) and not _locked(owner):
            return sockets
        if time.monotonic() > deadline:
            raise EmbeddedServerError(
                f"process {pid or '(unknown)'} owns the server in {home.path}, which does not "
                f"answer: end that process, and see {home.log}"
            )
        time.sleep(_POLL_SECONDS)
    return None


def _answers(home: Home, sockets: str) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        if home.keeps_private(sockets):
            client.settimeout(_PATIENCE_SECONDS)
            client.connect(f"{sockets}/{_SOCKET}")
            client.sendall(_SSL_REQUEST)
            return client.recv(1) in (b"N", b"S")
    return False


def _owned(home: Home, owner: int, options: Mapping[str, str]) -> Server:
    _write(owner, f"{os.getpid()}\n")
    lock = _free(home)
    try:
        programs = binaries.found(home)
        if not home.data.exists():
            _initialise(home, programs, lock)
        _forget_crash(home, programs)
        logged = home.log.stat().st_size
        sockets = _socket_directory(home)
        watchdog = _watched(home, programs, sockets, options, lock)
    finally:
        os.close(lock)  # the watchdog has it now
    try:
        _await_ready(home, watchdog, logged)
    except BaseException:
        _end(home, watchdog)
        raise
    _write(owner, f"{os.getpid()}\n{sockets}")
    return Server(home, sockets, watchdog, owner)


def _initialise(home: Home, programs: Path, lock: int) -> None:
    """Make `data`, whole or not at all, and on the disk.

    initdb holds the lock as its stdin: it may outlive a killed owner for a while. Its own children
    may outlive it in turn, so each has a directory of its own.
    """
    home.run("rm", "-rf", *home.path.glob("data.new-*"))
    new = home.path / f"data.new-{os.getpid()}"
    made = home.run(
        programs / "initdb",
        *("--pgdata", new, "--username=postgres", "--encoding=UTF8", "--locale=C"),
        *("--auth-local=trust", "--auth-host=reject"),
        stdin=lock,
    )
    if made.returncode:
        raise EmbeddedServerError(f"no database can be made in {home.path}: {fault(made.stderr)}")
    new.rename(home.data)
    directory = os.open(home.path, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def _forget_crash(home: Home, programs: Path) -> None:
    """Remove the lock files of a server that crashed: the data directory's and the socket's.

    PostgreSQL refuses to start while any process has the number in them. No server of ours has: we
    hold the lock. One that somebody started by hand would answer.
    """
    pid, _, _, port, sockets = [*_postmaster_pid(home), *[""] * 5][:5]
    if sockets and _runs_on(home, programs, _url("postgres", "postgres", sockets, port)):
        raise EmbeddedServerError(
            f"{home.data} is served by process {pid}, started by hand: "
            f"stop that with {programs / 'pg_ctl'} stop -D {home.data}"
        )
    (home.path / f"run/{_SOCKET}.lock").unlink(missing_ok=True)
    (home.data / "postmaster.pid").unlink(missing_ok=True)


def _postmaster_pid(home: Home) -> list[str]:
    """Return process, data directory, start, port, sockets, address, memory, status; or less."""
    try:
        return os.fsdecode((home.data / "postmaster.pid").read_bytes()).splitlines()
    except FileNotFoundError:
        return []


def _runs_on(home: Home, programs: Path, url: str) -> bool:
    options = ("-XwAt", "-d", f"{url}&connect_timeout=2", "-c", "SHOW data_directory")
    answer = home.run(programs / "psql", *options).stdout.strip()
    return Path(answer).resolve() == home.data.resolve()


def _socket_directory(home: Home) -> str:
    """Return where the socket goes: in a short path, and without commas, which separate hosts."""
    directory = str(home.path / "run")
    if len(os.fsencode(f"{directory}/{_SOCKET}")) <= _SOCKET_PATH_BYTES and "," not in directory:
        return directory
    directory = tempfile.mkdtemp(prefix="tenancy-")  # 0700, new: nobody else can have planted it
    os.chown(directory, home.account.uid, -1)
    return directory


def _watched(
    home: Home, programs: Path, sockets: str, options: Mapping[str, str], lock: int
) -> subprocess.Popen[bytes]:
    settings = {
        "listen_addresses": "",
        **options,
        "port": str(_PORT),
        "unix_socket_directories": sockets,
        "unix_socket_permissions": "0700",
    }
    temporary = "" if sockets == str(home.path / "run") else sockets
    return home.spawn(
        *("/bin/sh", "-c", _WATCHDOG, "tenancy-watchdog", home.log, temporary, str(_FAST_SECONDS)),
        *(programs / "postgres", "-D", home.data),
        *(f"--{name}={value}" for name, value in settings.items()),
        stdin=subprocess.PIPE,
        stdout=lock,
        new_session=True,  # neither Ctrl-C nor a kill of our process group reaches it
    )


def _await_ready(home: Home, watchdog: subprocess.Popen[bytes], logged: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while _postmaster_pid(home)[7:] != ["ready   "]:  # what pg_ctl waits for
        if watchdog.poll() is not None or time.monotonic() > deadline:
            with home.log.open("rb") as log:
                log.seek(logged)
                why = fault(log.read().decode(errors="replace"))
            raise EmbeddedServerError(f"PostgreSQL did not start: {why} (see {home.log})")
        time.sleep(_POLL_SECONDS)


def _end(home: Home, watchdog: subprocess.Popen[bytes]) -> None:
    with suppress(subprocess.TimeoutExpired):
        # The newline is for a pipe that a forked child keeps open.
        watchdog.communicate(b"\n", timeout=_PATIENCE_SECONDS)
    os.close(_free(home))
    watchdog.wait()


def _free(home: Home) -> int:
    """Return the lock, held, when no process of a server is left."""
    lock = home.opened("lock")
    try:
        _await_free(home, lock)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _await_free(home: Home, lock: int) -> None:
    begun = told = time.monotonic()
    while not _locked(lock):
        now = time.monotonic()
        if now - begun > STOP_SECONDS:
            raise EmbeddedServerError(
                f"the server in {home.path} is still stopping after {STOP_SECONDS:.0f} seconds: "
                f"see {home.log}, and try again"
            )
        if now - told > _PATIENCE_SECONDS:  # its watchdog was killed too
            told = now
            mode = "fast" if now - begun < _FAST_SECONDS else "immediate"
            pg_ctl = binaries.found(home) / "pg_ctl"
            home.run(pg_ctl, "stop", "--pgdata", home.data, "--mode", mode, "--no-wait")
        time.sleep(_POLL_SECONDS)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(fd: int, text: str) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, os.fsencode(text), 0)


def _url(user: str, database: str, host: str, port: str) -> str:
    who, where = quote(user, safe=""), quote(database, safe="")
    return f"postgresql://{who}@/{where}?host={quote(os.fsencode(host))}&port={port}"
