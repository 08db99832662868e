"""`python -m tenancy serve`: hypercorn, and what it needs brought up before and down after."""

import asyncio
import contextlib
import functools
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from hypercorn.config import Config
from hypercorn.run import run as run_hypercorn
from hypercorn.typing import Framework

from tenancy import embedded, loading, migrate, provision
from tenancy import settings as settings_module
from tenancy.errors import SettingsError
from tenancy.exits import Exit
from tenancy.settings import Settings

APPLICATION = "tenancy.app:create_app()"
DEMO_APPLICATION = "tenancy.demo:create_app()"
DEMO_TENANTS = ("acme", "globex")

BACKLOG = 2048
GRACEFUL_TIMEOUT_SECONDS = 10.0

_log = logging.getLogger(__name__)
_load = functools.cache(loading.load)  # with one worker, what was looked at is what is served


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says.

    Attributes:
        application: what to serve, in hypercorn's notation ``module:expression``.
        host, port: where to listen; port 0: any free one.
        workers: processes; with 1 the server runs in this one.
        migrate: bring the database up to its files first.
        demo: serve the demo, and make its tenants where there are none. On the embedded server with
            the demo's own files; a database of yours gets those of TENANCY_SQL_DIR.
    """

    application: str = APPLICATION
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    migrate: bool = False
    demo: bool = False


def serve(options: Options) -> int:
    """Serve until SIGINT or SIGTERM, then drain; return the exit code.

    Raises:
        SettingsError: the address cannot be listened on, the application cannot be loaded, or the
            environment is not acceptable.
        TenancyError: the database could not be brought up.
    """
    settings = settings_module.load()
    if options.demo and settings.database_url is None and settings.sql_dir is None:
        settings = settings.model_copy(update={"sql_dir": migrate.packaged_sql_folder()})
    with (
        _exit_on_sigterm(),
        _listening(options) as listener,
        embedded.configured(settings, own=True) as ready,
    ):
        _export(ready)
        _load(_target(options))  # here too with workers: their own failures are a screen each
        slugs = asyncio.run(_prepare(ready, options))
        if options.demo:
            _welcome(slugs, settings.base_domains[0], listener.getsockname()[1])
        config = _configuration(options, listener)
        if options.workers == 1:
            return run_hypercorn(config)
        with _told_to_end() as signals:
            code = run_hypercorn(config)
        if code == 0 and not signals:  # hypercorn forgets the code of a worker that fails
            _log.error("a worker has ended by itself: so have the others")
            return Exit.FAULT
        return code


async def _prepare(settings: Settings, options: Options) -> list[str]:
    if options.migrate or options.demo:
        (await migrate.migrate(settings)).raise_for_failures()
    return await _demo_tenants(settings) if options.demo else []


async def _demo_tenants(settings: Settings) -> list[str]:
    async with provision.administrator(settings) as admin:
        if not await admin.list():
            for slug in DEMO_TENANTS:
                await admin.create(slug)
        return [profile.tenant.slug for profile in await admin.list()]


def _welcome(slugs: list[str], base_domain: str, port: int) -> None:
    """Print one line to paste for each tenant, most of them left out where there are many."""
    shown = slugs[:5]
    addresses = {slug: f"http://{slug}.{base_domain}:{port}" for slug in shown}
    lines = ["The demo is up. Write a note for each tenant, and read it back:", ""]
    for slug, address in addresses.items():
        lines.append(
            f"  curl {address}/notes -H 'Content-Type: application/json' "
            f'-d \'{{"body": "first note of {slug}"}}\''
        )
    lines += ["", *(f"  {address}/notes" for address in addresses.values()), ""]
    if len(slugs) > len(shown):
        lines += [f"  and {len(slugs) - len(shown)} more: python -m tenancy tenants list", ""]
    print("\n".join(lines), flush=True)  # noqa: T201 - the command's result


def _export(settings: Settings) -> None:
    """Hand the settings that were found to the application, which reads the environment."""
    for field in ("database_url", "admin_database_url"):
        secret = getattr(settings, field)
        if secret is not None:
            os.environ[settings_module.variable(field)] = secret.get_secret_value()


@contextlib.contextmanager
def _listening(options: Options) -> Iterator[socket.socket]:
    """Listen before anything is started: a taken port is told at once, no early client refused."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((options.host, options.port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SettingsError(
                f"cannot listen on {options.host} port {options.port}: {reason}; "
                "choose another with --host and --port"
            ) from error
        listener.listen(BACKLOG)
        yield listener


def _configuration(options: Options, listener: socket.socket) -> Config:
    config = Config()
    config.application_path = _orphanless_path(_target(options))
    config.bind = [f"fd://{os.dup(listener.fileno())}"]  # hypercorn closes the one it is given
    if options.workers == 1:  # in this process, whose log has a handler already
        config.errorlog = logging.getLogger("hypercorn.error")
    config.workers = 0 if options.workers == 1 else options.workers
    config.graceful_timeout = GRACEFUL_TIMEOUT_SECONDS
    config.backlog = BACKLOG
    return config


def _target(options: Options) -> str:
    return DEMO_APPLICATION if options.demo else options.application


def _orphanless_path(target: str) -> str:
    escaped = target.replace(":", "\\x3a")  # hypercorn takes a second colon for a mode
    return f"{__name__}:orphanless('{escaped}')"


def orphanless(application: str) -> Framework:
    """Load *application* in a worker that ends when the process that started it has been killed."""
    if multiprocessing.parent_process() is not None:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    return _load(application)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # at once, as the parent: its database is being stopped, and rolls back


@contextlib.contextmanager
def _told_to_end() -> Iterator[list[int]]:
    """Yield a list that holds, after the block, the signals to end that came; no handler is set."""
    seen: list[int] = []
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.settimeout(0)
        writer.settimeout(0)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield seen
        finally:
            signal.set_wakeup_fd(before)
            with contextlib.suppress(BlockingIOError):
                seen += (n for n in reader.recv(4096) if n in (signal.SIGINT, signal.SIGTERM))


@contextlib.contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Until hypercorn listens to signals itself, unwind on SIGTERM as on Ctrl-C."""
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
