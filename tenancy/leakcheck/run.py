"""One leak check, from an empty database to its report."""

import inspect
import logging
import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import cast

import asyncpg

from tenancy import loading
from tenancy import settings as settings_module
from tenancy.errors import SettingsError
from tenancy.leakcheck import client, tenants, views
from tenancy.leakcheck.canaries import Canaries
from tenancy.leakcheck.driver import Driver
from tenancy.leakcheck.filling import Filler
from tenancy.leakcheck.ledger import Ledger
from tenancy.leakcheck.looking import Looker
from tenancy.leakcheck.options import Application, Layout, Options
from tenancy.leakcheck.planning import Planner
from tenancy.leakcheck.plants import Plants
from tenancy.leakcheck.report import Coverage, Report
from tenancy.leakcheck.sandbox import Sandbox, sandbox
from tenancy.leakcheck.sandbox import server as embedded_server
from tenancy.leakcheck.scan import Scanner
from tenancy.leakcheck.views import View
from tenancy.leakcheck.watching import Watch
from tenancy.settings import Settings

DATABASE_URL = "DATABASE_URL"


async def check(
    app: str | Application, options: Options | None = None, *, server: str | None = None
) -> Report:
    """Run *app* with two canary tenants on a throw-away database, and report what crossed.

    The application's start-up and shutdown run too. Its connections by asyncpg lead to the
    throw-away database whatever address it asks for, so that no other data is touched.

    Args:
        app: an ASGI application, a function without arguments that returns one, or
            ``module:expression``.
        options: by default those of `Options`.
        server: address of a PostgreSQL where databases and roles may be made, of a superuser or a
            login with CREATEDB and CREATEROLE; by default an embedded one is started.

    Raises:
        SettingsError: an option, a file or *app* cannot be used.
        LeakcheckError: the application does not start, or connects past asyncpg's public functions.
        TenancyError: the database could not be brought up.
    """
    options = options or Options()
    settings = settings_module.load()
    if not options.host:
        options = replace(options, host=f"{{tenant}}.{settings.base_domains[0]}")
    _refuse_conflicts(options)
    with ExitStack() as stack:
        url = server or stack.enter_context(embedded_server())
        async with sandbox(url) as made:
            with _environment(made, options), nullcontext() if options.verbose else _quiet():
                return await _checked(app, options, tenants.pointed(settings, made), made)


def _refuse_conflicts(options: Options) -> None:
    if options.layout is not Layout.TENANCY and not (options.sql or options.setup):
        raise SettingsError(f"--layout {options.layout} needs the tables: name files with --sql")
    if options.layout is Layout.TENANCY and options.sql:
        raise SettingsError("--sql is for --layout schemas or rows: TENANCY_SQL_DIR has the files")
    if len(set(options.tenants)) == 1:
        raise SettingsError("--tenants needs two different names")


async def _checked(
    app: str | Application, options: Options, settings: Settings, made: Sandbox
) -> Report:
    chance = random.Random(options.seed)  # noqa: S311 - to be had again
    canaries = Canaries(chance)
    report = Report(
        options.seed,
        skipped=sorted(map(str, options.skipped)),
        all_views=options.all_views,
    )
    owner = await asyncpg.connect(made.owner_url)
    try:
        filler = await tenants.prepare(owner, made, settings, options, canaries)
        watch = Watch(made, options.pool_size)
        watch.plants = Plants(filler, chance, lambda: watch.own_settings)
        ledger = Ledger(report, canaries, watch, options.tenants)
        with watch.installed():
            loaded = _loaded(app)
            async with client.lifespan(loaded) as state:
                driver = Driver(
                    loaded,
                    state,
                    options=options,
                    planner=Planner(options, canaries, filler, chance),
                    filler=filler,
                    scanner=Scanner(owner, filler),
                    looker=Looker(watch, ledger),
                    watch=watch,
                    ledger=ledger,
                    chance=chance,
                )
                found = await _views(driver, loaded, options, report)
                await driver.run(found)
                if report.cut_short:  # its own shutdown would wait for what is never given back
                    watch.terminate()
        _finish(report, filler, watch)
    finally:
        await owner.close()
    return report


async def _views(driver: Driver, app: Application, options: Options, report: Report) -> list[View]:
    mapped, websockets = views.of_url_map(app)
    described = await driver.ask(View("GET", options.openapi))
    found = views.merged(
        mapped, views.of_openapi(bytes(described.body)), views.of_options(options.requests)
    )
    report.uncovered = dict.fromkeys(websockets, "websockets are not asked")
    if options.read_only:
        unsafe = [str(view) for view in found if not view.is_safe]
        report.uncovered |= dict.fromkeys(unsafe, "--read-only")
        found = [view for view in found if view.is_safe]
    for view in [view for view in found if view.is_safe][:1]:
        await driver.ask(view)
    report.views = {str(view): Coverage() for view in found}
    return found


def _finish(report: Report, filler: Filler, watch: Watch) -> None:
    report.tables = sorted(set(filler.tables) - set(filler.unfilled))
    report.unfilled = filler.unfilled
    report.connections = len(watch.connections)
    report.redirected = watch.redirected


@contextmanager
def _environment(made: Sandbox, options: Options) -> Iterator[None]:
    """Let the application read the throw-away database's addresses, until the block ends."""
    values = dict.fromkeys((DATABASE_URL, *options.environment), made.app_url)
    values[settings_module.variable("database_url")] = made.app_url
    values[settings_module.variable("admin_database_url")] = made.owner_url
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _loaded(app: str | Application) -> Application:
    if isinstance(app, str):
        return cast("Application", loading.load(app))
    return cast("Application", app()) if _makes_one(app) else app


def _makes_one(app: Application) -> bool:
    """Whether *app* is a function that can be called without arguments; an application takes 3."""
    if not inspect.isroutine(app):
        return False
    parameters = inspect.signature(app).parameters.values()
    return all(p.default is not p.empty or p.kind is p.VAR_KEYWORD for p in parameters)
