"""The embedded server: its data, its owner's death, and the places it refuses."""

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Timer

import asyncpg
import psutil
import pytest
from pydantic import SecretStr

import tenancy
from tenancy.embedded import Server, binaries, configured, default_data_dir, start
from tenancy.embedded import server as implementation
from tenancy.embedded.home import Account, Home
from tenancy.errors import EmbeddedServerError
from tenancy.settings import Settings

REPOSITORY = Path(tenancy.__file__).parents[1]
ROOT = os.geteuid() == 0

OWNER = """
import os, signal, sys, time
from pathlib import Path
from tenancy.embedded import start
signal.signal(signal.SIGINT, lambda *_: None)
server = start(Path(os.environ["DATA_DIR"]))
print(server.owned, server.url("postgres", "postgres"), flush=True)
sys.stdin.read()
"""

FORKING_OWNER = """
import os, sys, time
from pathlib import Path
from tenancy.embedded import start
server = start(Path(os.environ["DATA_DIR"]))
child = os.fork()
if child == 0:
    server.stop()
    time.sleep(60)
print(server.owned, server.url("postgres", "postgres"), flush=True)
sys.stdin.readline()
server.stop()
print(child, flush=True)
sys.stdin.read()
"""


def open_directory() -> Path:
    """Return a new directory that the account which a root's server runs as can reach."""
    path = Path(tempfile.mkdtemp(prefix="tenancy-test-")).resolve()
    path.chmod(0o755)
    return path


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in which no process may be left."""
    path = open_directory()
    yield path
    left = cleared(path)
    shutil.rmtree(path)
    assert not left


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    """A data directory that has data."""
    path = open_directory()
    start(path / "home").stop()
    yield path / "home"
    shutil.rmtree(path)


@pytest.fixture
def home(shared: Path) -> Iterator[Path]:
    """A data directory that has data; its server is down, and has to be afterwards."""
    yield shared
    assert not cleared(shared)


@contextmanager
def started(data_dir: Path) -> Iterator[Server]:
    server = start(data_dir)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def owner(data_dir: Path, script: str = OWNER) -> Iterator[subprocess.Popen[str]]:
    """Another process, the leader of its own group, that starts the server at *data_dir*."""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env={**os.environ, "DATA_DIR": str(data_dir)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> tuple[bool, str]:
    """Return whether *process* owns the server, and its address, once it serves."""
    assert process.stdout is not None
    owned, url = process.stdout.readline().split()
    return owned == "True", url


def processes(path: Path) -> list[psutil.Process]:
    """Return whatever works on *path*: server, watchdog or initdb, but no Python."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() in {"postgres", "initdb", "sh", "bash", "dash", "tar"}:  # not Python
                words = " ".join([*process.cmdline(), process.cwd()])
                found += [process] if str(path) in words else []
    return found


def child(home: Path, kind: str) -> psutil.Process:
    """Return the server's process that calls itself *kind*."""
    return next(one for one in processes(home) if kind in one.cmdline()[0])


@contextmanager
def suspended(process: psutil.Process, seconds: float = 20) -> Iterator[None]:
    """A stretch in which *process* does nothing: until the block ends, or for *seconds*."""
    process.suspend()
    timer = Timer(seconds, process.resume)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with suppress(psutil.NoSuchProcess):
            process.resume()


def watchdogs(home: Path) -> list[psutil.Process]:
    return [process for process in processes(home) if "tenancy-watchdog" in process.cmdline()]


def cleared(path: Path) -> list[psutil.Process]:
    """Return what had to be killed."""
    left = [] if gone(path) else processes(path)
    for process in left:
        process.kill()
    return left


def gone(path: Path, seconds: float = 5) -> bool:
    return until(lambda: not processes(path), seconds)


def until(fact: Callable[[], object], seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


async def run(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def saved(url: str) -> None:
    await run(url, "DROP TABLE IF EXISTS notes")
    await run(url, "CREATE TABLE notes (body text)")
    await run(url, "INSERT INTO notes VALUES ('acknowledged')")


async def notes(server: Server) -> object:
    return await run(server.url("postgres", "postgres"), "SELECT count(*) FROM notes")


def settings(data_dir: Path) -> Settings:
    return Settings(data_dir=data_dir, _env_file=None)  # type: ignore[call-arg]


# Its life


async def test_data_survives_a_restart(place: Path) -> None:
    with started(place / "home") as server:
        assert server.owned
        assert server.data_dir == place / "home"
        await saved(server.url("postgres", "postgres"))
    assert gone(place, 0)
    with started(place / "home") as server:
        assert await notes(server) == 1


def test_stopping_twice_is_stopping_once(home: Path) -> None:
    server = start(home)
    server.stop()
    server.stop()
    assert gone(home, 0)


async def test_it_writes_safely_and_listens_only_on_a_private_socket(home: Path) -> None:
    with started(home) as server:
        url = server.url("postgres", "postgres")
        assert await run(url, "SHOW fsync") == "on"
        assert await run(url, "SHOW server_encoding") == "UTF8"
        assert await run(url, "SHOW listen_addresses") == ""
        assert (home / "run").stat().st_mode & 0o077 == 0
        assert str(home / "run") in url


async def test_options_are_settings_of_the_server(home: Path) -> None:
    server = start(home, options={"work_mem": "7MB"})
    try:
        assert await run(server.url("postgres", "postgres"), "SHOW work_mem") == "7MB"
    finally:
        server.stop()


async def test_two_processes_share_one_server(home: Path) -> None:
    with owner(home) as first:
        assert said(first)[0]
        with started(home) as second:
            assert not second.owned
            await saved(second.url("postgres", "postgres"))
        with started(home) as third:  # the end of the second ended nothing
            assert await notes(third) == 1


async def test_of_three_that_start_at_once_one_owns_the_server(place: Path) -> None:
    with ExitStack() as stack:
        owners = [stack.enter_context(owner(place / "home")) for _ in range(3)]
        answers = [said(process) for process in owners]
        assert sorted(owned for owned, _ in answers) == [False, False, True]
        assert [await run(url, "SELECT 1") for _, url in answers] == [1, 1, 1]


async def test_the_users_pg_variables_change_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOST", "PGDATA", "PGUSER", "PGDATABASE", "PGOPTIONS", "PGSERVICE"):
        monkeypatch.setenv(name, "nonsense")
    monkeypatch.setenv("PGPORT", "1")
    with configured(settings(place / "home")) as found:
        assert await run(found.dsn, "SELECT 1") == 1


async def test_a_long_path_puts_the_socket_elsewhere(place: Path) -> None:
    with started(place / ("long" * 25)) as server:
        url = server.url("postgres", "postgres")
        sockets = Path(str(await run(url, "SHOW unix_socket_directories")))
        assert Home(server.data_dir, Account.of(server.data_dir)).keeps_private(sockets)
        with started(server.data_dir) as second:
            assert not second.owned
    assert until(lambda: not sockets.exists())


@pytest.mark.parametrize("name", ["my data?&=%41;ä", "a,b"])
async def test_any_name_of_a_directory_will_do(place: Path, name: str) -> None:
    with started(place / name) as server:
        assert await run(server.url("postgres", "postgres"), "SELECT 1") == 1


def test_a_start_during_a_stop_waits_for_its_end(home: Path) -> None:
    server = start(home)
    with suspended(child(home, "checkpointer")), ThreadPoolExecutor() as threads:
        stopping = threads.submit(server.stop)
        assert until(lambda: "stopping" in (home / "data/postmaster.pid").read_text())
        starting = threads.submit(start, home)
        with pytest.raises(TimeoutError):
            starting.result(0.3)
        child(home, "checkpointer").resume()
        stopping.result()
        second = starting.result()
    second.stop()
    assert second.owned


# Its owner's end


@pytest.mark.parametrize("kill", [os.kill, os.killpg])
async def test_kill_9_of_the_owner_stops_it_and_loses_nothing(
    home: Path, kill: Callable[[int, int], None]
) -> None:
    with owner(home) as process:
        await saved(said(process)[1])
        kill(process.pid, signal.SIGKILL)
        assert gone(home)
    with started(home) as server:
        assert await notes(server) == 1


async def test_a_start_right_after_kill_9_takes_the_data_up(home: Path) -> None:
    with owner(home) as process:
        await saved(said(process)[1])
        with suspended(child(home, "checkpointer"), seconds=0.5):
            process.kill()
            with started(home) as server:
                assert server.owned
                assert await notes(server) == 1


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.04])
def test_kill_9_during_the_start_leaves_nothing(home: Path, seconds: float) -> None:
    with owner(home) as process:
        assert until(lambda: processes(home))
        time.sleep(seconds)
        process.kill()
        assert gone(home)


async def test_an_end_without_stop_stops_it(home: Path) -> None:
    with owner(home) as process:
        said(process)
        process.communicate("")
        assert process.returncode == 0
        assert gone(home)


async def test_ctrl_c_does_not_reach_it(home: Path) -> None:
    with owner(home) as process:
        _, url = said(process)
        os.killpg(process.pid, signal.SIGINT)
        for watchdog in watchdogs(home):
            watchdog.send_signal(signal.SIGINT)
            watchdog.send_signal(signal.SIGTERM)
            watchdog.send_signal(signal.SIGHUP)
        await asyncio.sleep(0.1)
        assert await run(url, "SELECT 1") == 1


async def test_a_forked_child_neither_stops_nor_keeps_it(home: Path) -> None:
    with owner(home, FORKING_OWNER) as process:
        _, url = said(process)
        assert await run(url, "SELECT 1") == 1
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("stop\n")
        process.stdin.flush()
        child = int(process.stdout.readline())
        try:
            with started(home) as server:
                assert server.owned
        finally:
            os.kill(child, signal.SIGKILL)


async def test_a_server_that_lost_owner_and_watchdog_is_taken_over(home: Path) -> None:
    with owner(home) as process:
        _, url = said(process)
        await saved(url)
        for watchdog in watchdogs(home):
            watchdog.kill()
        process.kill()
        process.wait()
        await asyncio.sleep(0.1)
        assert await run(url, "SELECT 1") == 1  # an orphan
    with started(home) as server:
        assert server.owned
        assert await notes(server) == 1


def test_stop_needs_no_watchdog(home: Path) -> None:
    server = start(home)
    for watchdog in watchdogs(home):
        watchdog.kill()
    server.stop()
    assert gone(home, 0)


def test_a_server_that_recovers_from_a_crash_is_stopped(home: Path) -> None:
    hasty = "from tenancy.embedded import server; server._FAST_SECONDS = 1"
    with owner(home, hasty + OWNER) as process:
        said(process)
        logged = (home / "log").stat().st_size
        child(home, "background writer").kill()
        assert until(lambda: b"reinitializing" in (home / "log").read_bytes()[logged:])
        process.kill()
        assert gone(home)


# What a crash leaves behind


@contextmanager
def stranger(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the same account that has nothing to do with PostgreSQL."""
    with Home(home, Account.of(home)).spawn("sleep", "60") as process:
        try:
            yield process
        finally:
            process.kill()


async def test_a_stale_postmaster_pid_that_names_a_living_stranger_is_dropped(home: Path) -> None:
    with stranger(home) as process:
        lines = (
            process.pid,
            home / "data",
            int(time.time()),
            5432,
            home / "run",
            "",
            "1 1",
            "ready   ",
        )
        for file in ("data/postmaster.pid", "run/.s.PGSQL.5432.lock"):
            (home / file).write_text("".join(f"{line}\n" for line in lines))
        with started(home) as server:
            assert server.owned
            assert await run(server.url("postgres", "postgres"), "SELECT 1") == 1
        assert process.poll() is None


async def test_an_owner_file_that_a_crash_left_is_not_believed(home: Path) -> None:
    (home / "owner").write_text(f"{os.getpid()}\n{home / 'run'}")
    with started(home) as server:
        assert server.owned


@contextmanager
def foreign_owner(home: Path) -> Iterator[int]:
    """Somebody who holds the owner's lock, says it serves, and does not."""
    fd = os.open(home / "owner", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.pwrite(fd, f"4711\n{home / 'run'}".encode(), 0)
    try:
        yield fd
    finally:
        os.close(fd)


def test_an_owner_that_does_not_serve_is_waited_for(home: Path) -> None:
    with ThreadPoolExecutor() as threads:
        with foreign_owner(home):
            starting = threads.submit(start, home)
            with pytest.raises(TimeoutError):
                starting.result(0.2)
        server = starting.result()
    server.stop()
    assert server.owned


def test_an_owner_that_never_serves_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(implementation, "READY_SECONDS", 0.1)
    with (
        foreign_owner(home),
        pytest.raises(
            EmbeddedServerError, match=r"process 4711 .*does not answer: end that process"
        ),
    ):
        start(home)


def test_an_owner_that_ends_while_it_is_asked_is_succeeded(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with foreign_owner(home) as fd:

        def answers(*_: object) -> bool:
            fcntl.flock(fd, fcntl.LOCK_UN)
            return True

        monkeypatch.setattr(implementation, "_answers", answers)
        with started(home) as server:
            assert server.owned


async def test_killed_back_ends_and_postmaster_are_recovered_from(home: Path) -> None:
    with owner(home) as process:
        await saved(said(process)[1])
        process.kill()
        for one in processes(home):
            with suppress(psutil.NoSuchProcess):
                one.kill()
    with started(home) as server:
        assert await notes(server) == 1


def test_a_server_started_by_hand_is_left_alone(home: Path) -> None:
    hands = Home(home, Account.of(home))
    pg_ctl = binaries.found(hands) / "pg_ctl"
    options = f"-c listen_addresses= -c unix_socket_directories={home / 'run'}"
    # Into a file: the server inherits the output, and a pipe would be read until its end.
    subprocess_log = os.open(home / "log", os.O_WRONLY)
    command = (pg_ctl, "start", "--wait", "--pgdata", home / "data", "--options", options)
    assert hands.spawn(*command, stdout=subprocess_log).wait() == 0
    os.close(subprocess_log)
    try:
        with pytest.raises(EmbeddedServerError, match="started by hand: stop that with"):
            start(home)
    finally:
        assert hands.run(pg_ctl, "stop", "--wait", "--pgdata", home / "data").returncode == 0
    start(home).stop()


def test_an_initdb_that_was_killed_half_way_is_done_again(place: Path) -> None:
    with owner(place / "home") as process:
        assert until(lambda: list(place.glob("home/data.new-*/base")))
        os.killpg(process.pid, signal.SIGKILL)
    with started(place / "home") as server:
        assert server.owned
    assert not list(place.glob("home/data.new-*"))


def test_an_initdb_that_outlives_its_owner_keeps_the_lock(place: Path) -> None:
    with owner(place / "home") as process:
        assert until(lambda: list(place.glob("home/data.new-*/base")))
        process.kill()
        process.wait()
        lock = os.open(place / "home/lock", os.O_RDWR)
        free = implementation._locked(lock)
        assert not (free and "initdb" in {one.name() for one in processes(place)})
        os.close(lock)
        start(place / "home").stop()


# Places and programs that will not do


def test_a_file_is_no_data_directory(place: Path) -> None:
    (place / "home").write_text("precious")
    with pytest.raises(EmbeddedServerError, match=r"home .*Not a directory.*TENANCY_DATA_DIR"):
        start(place / "home")
    with pytest.raises(EmbeddedServerError, match=r"home/below .*TENANCY_DATA_DIR"):
        start(place / "home/below")
    assert (place / "home").read_text() == "precious"


def owned(place: Path) -> Path:
    """Return a new, empty data directory of the account that would run the server."""
    account = Account.of(place)
    (place / "home").mkdir()
    os.chown(place / "home", account.uid, account.gid)
    return place / "home"


def test_a_read_only_directory_is_refused(place: Path) -> None:
    owned(place).chmod(0o500)
    with pytest.raises(EmbeddedServerError, match=r"cannot write there.*TENANCY_DATA_DIR"):
        start(place / "home")


@pytest.mark.parametrize("name", ["precious.txt", "data/precious.txt", "PG_VERSION"])
def test_a_directory_that_holds_other_things_is_left_alone(place: Path, name: str) -> None:
    file = place / "home" / name
    file.parent.mkdir(parents=True)
    file.write_text("precious")
    with pytest.raises(EmbeddedServerError, match="holds other things"):
        start(place / "home")
    assert [path for path in (place / "home").rglob("*") if path.is_file()] == [file]


def test_a_planted_socket_directory_is_refused(place: Path) -> None:
    (owned(place) / "run").symlink_to(tempfile.gettempdir())
    with pytest.raises(EmbeddedServerError, match="run is not private"):
        start(place / "home")


def test_a_lock_that_is_a_link_is_refused(place: Path) -> None:
    (owned(place) / "owner").symlink_to("log")
    with pytest.raises(EmbeddedServerError, match=r"cannot be started.*home/owner"):
        start(place / "home")


def test_without_programs_the_error_says_how_to_get_some(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "wheel", list)
    monkeypatch.setattr(binaries, "system", list)
    with pytest.raises(EmbeddedServerError, match=r"tenancy\[embedded\].*TENANCY_DATABASE_URL"):
        start(place / "home")


def test_data_of_a_version_that_is_not_installed_says_which(place: Path) -> None:
    (owned(place) / "data").mkdir()
    (place / "home/data/PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedServerError, match="needs PostgreSQL 9, which is not installed"):
        start(place / "home")


def test_data_finds_the_programs_of_its_own_version(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [*binaries.wheel(), *binaries.system()]
    newest = binaries.found(Home(home, Account.of(home)))
    monkeypatch.setattr(binaries, "wheel", lambda: [one for one in places if one != newest])
    monkeypatch.setattr(binaries, "system", lambda: [newest])
    assert binaries.found(Home(home, Account.of(home))) == newest


def test_a_failing_start_names_the_log_and_its_reason(home: Path) -> None:
    with pytest.raises(EmbeddedServerError, match=r"FATAL.*shared_buffers.*home/log"):
        start(home, options={"shared_buffers": "nonsense"})
    start(home).stop()


# As root


@pytest.mark.skipif(not ROOT, reason="only root starts it as somebody else")
class TestRoot:
    def test_the_server_is_not_roots(self, home: Path) -> None:
        with started(home):
            users = {uid for process in processes(home) for uid in process.uids()}
            assert users == {Account.of(home).uid} != {0}

    async def test_programs_out_of_reach_are_copied_once(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        programs = max(binaries.wheel(), default=None)
        if programs is None:
            pytest.skip("the wheel is not installed")
        package = programs.parent.parent
        closed = place / "closed"
        for folder in (programs.parent, package.with_name(f"{package.name}.libs")):
            shutil.copytree(folder, closed / folder.relative_to(package.parent))
        closed.chmod(0o700)
        monkeypatch.setattr(
            binaries, "wheel", lambda: [closed / programs.relative_to(package.parent)]
        )
        with started(place / "home") as server:
            assert await run(server.url("postgres", "postgres"), "SELECT 1") == 1
        (copy,) = (place / "home").glob("binaries-*")
        made = copy.stat().st_ctime_ns
        with started(place / "home") as server:
            assert await run(server.url("postgres", "postgres"), "SELECT 1") == 1
        assert copy.stat().st_ctime_ns == made

    def test_a_data_directory_out_of_reach_says_so(self, place: Path) -> None:
        (place / "closed").mkdir(mode=0o700)
        with pytest.raises(EmbeddedServerError, match=r"cannot enter .*closed.*TENANCY_DATA_DIR"):
            start(place / "closed/home")
        assert list((place / "closed").iterdir()) == []

    def test_a_directory_of_somebody_else_is_refused(self, place: Path) -> None:
        (place / "home").mkdir()
        (place / "home/log").touch()
        with pytest.raises(EmbeddedServerError, match="belongs to root"):
            start(place / "home")

    def test_a_lock_that_is_another_accounts_file_is_refused(self, place: Path) -> None:
        victim = place / "victim"
        victim.write_text("precious")
        victim.chmod(0o666)
        (owned(place) / "owner").hardlink_to(victim)
        with pytest.raises(EmbeddedServerError, match="is not a file of"):
            start(place / "home")
        assert victim.read_text() == "precious"

    def test_an_empty_directory_of_roots_is_taken(self, place: Path) -> None:
        (place / "home").mkdir(mode=0o700)
        start(place / "home").stop()
        assert (place / "home").stat().st_uid != 0


# What tenancy makes of it


def test_a_configured_address_starts_nothing(place: Path) -> None:
    given = Settings(
        database_url=SecretStr("postgresql://app@example.com/app"),
        data_dir=place / "home",
        _env_file=None,  # type: ignore[call-arg]
    )
    with configured(given) as found:
        assert found is given
        assert list(place.iterdir()) == []


async def test_without_an_address_a_server_runs_until_the_block_ends(home: Path) -> None:
    with configured(settings(home)) as found:
        assert await run(found.dsn, "SELECT current_user::text") == "tenancy_app"
        assert await run(found.admin_dsn, "SELECT current_user::text") == "tenancy_owner"
    assert gone(home, 0)
    with configured(settings(home)) as found, configured(found) as same:
        assert same is found


def test_a_block_that_fails_stops_the_server(home: Path) -> None:
    with pytest.raises(ZeroDivisionError), configured(settings(home)):
        raise ZeroDivisionError
    assert gone(home, 0)


async def test_two_processes_are_configured_by_one_server(home: Path) -> None:
    with owner(home) as process:
        said(process)
        with configured(settings(home)) as found:
            assert await run(found.dsn, "SELECT 1") == 1
        assert process.poll() is None


@pytest.fixture(scope="module")
def ready() -> Iterator[Settings]:
    path = open_directory()
    with configured(settings(path / "home")) as found:
        yield found
    shutil.rmtree(path)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE t ()",
        "CREATE TABLE public.t ()",
        "CREATE TEMPORARY TABLE t ()",
        "CREATE SCHEMA s",
        "CREATE ROLE r",
        "CREATE DATABASE d",
        "SET ROLE tenancy_owner",
        "SET ROLE postgres",
    ],
)
async def test_the_requests_role_may_only_connect(ready: Settings, sql: str) -> None:
    with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError)):
        await run(ready.dsn, sql)


async def test_the_owner_makes_roles_and_schemas_and_is_no_superuser(ready: Settings) -> None:
    superuser = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
    assert await run(ready.admin_dsn, superuser) is False
    for sql in ("CREATE ROLE r", "CREATE SCHEMA s", "DROP SCHEMA s", "DROP ROLE r"):
        await run(ready.admin_dsn, sql)


async def test_nobody_else_may_connect(ready: Settings) -> None:
    await run(ready.admin_dsn, "CREATE ROLE passer_by LOGIN")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run(ready.dsn.replace("tenancy_app", "passer_by"), "SELECT 1")
    await run(ready.admin_dsn, "DROP ROLE passer_by")


@pytest.mark.parametrize(
    ("uid", "xdg", "path"),
    [
        (0, "/xdg", "/var/lib/tenancy"),
        (1000, "/xdg", "/xdg/tenancy"),
        (1000, "relative", "/home/me/.local/share/tenancy"),
        (1000, "", "/home/me/.local/share/tenancy"),
    ],
)
def test_data_is_kept_where_the_system_keeps_data(
    monkeypatch: pytest.MonkeyPatch, uid: int, xdg: str, path: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", xdg)
    monkeypatch.setenv("HOME", "/home/me")
    assert default_data_dir() == Path(path)
