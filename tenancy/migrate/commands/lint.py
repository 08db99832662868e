"""The command that reads files and finds fault with them: lint."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from tenancy import deployment, migrate
from tenancy.errors import MigrationFileError
from tenancy.exits import Exit, exit_codes
from tenancy.migrate.commands.common import (
    answer,
    debug_option,
    json_option,
    print_lines,
    print_objects,
)
from tenancy.migrate.files.folder import sql_folder
from tenancy.migrate.files.model import Files, Migration
from tenancy.migrate.lint import check, choosing, classic, output
from tenancy.migrate.lint.catalog import BY_NAME, RULES
from tenancy.migrate.lint.check import Choice
from tenancy.migrate.lint.finding import Finding, Level
from tenancy.migrate.plan.steps import Survey
from tenancy.migrate.plan.survey import survey
from tenancy.migrate.upgrade.session import Session
from tenancy.settings import Settings

OLDEST_SERVER = 15  # that tenancy runs on

Command = TypeVar("Command", bound=Callable[..., Any])


def _rules(_ctx: click.Context, _option: click.Parameter, names: tuple[str, ...]) -> frozenset[str]:
    for name in names:
        if name not in BY_NAME.keys() | classic.KNOWN:
            raise click.BadParameter(f"no rule is called {name!r}: --rules lists them")
    return frozenset(names)


def _print_rules(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's
    if not wanted or ctx.resilient_parsing:
        return
    for rule in RULES:
        click.echo(f"{rule.name} ({rule.level}): {rule.why}; instead: {rule.instead}")
    for name, instead in classic.ON.items():
        click.echo(f"{name} ({Level.WARNING}, squawk's); instead: {instead}")
    for name, why in classic.OFF.items():
        click.echo(f"{name} ({Level.WARNING}, squawk's, off): {why}")
    ctx.exit()


def _rule_option(*names: str, help: str) -> Callable[[Command], Command]:  # noqa: A002 - click's
    return click.option(*names, multiple=True, metavar="NAME", callback=_rules, help=help)


@click.command()
@click.argument("paths", nargs=-1, metavar="[FILES]...", type=click.Path(path_type=Path))
@click.option("--pending", is_flag=True, help="Only what the database says is pending.")
@click.option("--since", metavar="REF", help="Only what differs from git's REF: origin/main.")
@_rule_option("--rule", "only", help="Only this rule; repeatable.")
@_rule_option("--also", help="This rule of squawk's too, which is off; repeatable.")
@_rule_option("--no-rule", "without", help="Not this rule; repeatable.")
@click.option(
    "--rules",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_rules,
    help="List all rules, and end.",
)
@click.option("--strict", is_flag=True, help="Exit with 8 for warnings too.")
@click.option("--require-squawk", is_flag=True, help="Exit with 4 if squawk is not installed.")
@click.option(
    "--pg-version",
    type=click.IntRange(OLDEST_SERVER),
    metavar="N",
    help=f"The server's, for squawk; the oldest, {OLDEST_SERVER}, unless --pending asks it.",
)
@json_option
@debug_option
def lint(  # noqa: PLR0913 - one argument per option
    *,
    paths: tuple[Path, ...],
    since: str | None,
    only: frozenset[str],
    also: frozenset[str],
    without: frozenset[str],
    pg_version: int | None,
    pending: bool,
    strict: bool,
    require_squawk: bool,
    as_json: bool,
    debug: bool,
) -> None:
    """Read the files, and say what would break or block a tenant. Needs no database.

    FILES: those to look at; none: all. Exit code 8: there are errors.

    Example: python -m tenancy.migrate lint --since origin/main
    """
    if sum((bool(paths), bool(since), pending)) > 1:
        raise click.UsageError("FILES, --since and --pending exclude one another")
    with exit_codes(debug=debug):
        settings = deployment.settings()
        files, refused = _files(settings)
        chosen, server = _chosen(settings, files, paths, since, pending=pending)
        squawk = _squawk(pg_version or server, required=require_squawk)
        findings = refused or check.lint(
            *(files, chosen),
            shared_schema=settings.shared_schema,
            choice=Choice(only, also, without),
            squawk=squawk,
        )
        _print(findings, len(chosen), squawk=squawk is not None, as_json=as_json)
        sys.exit(_exit(findings, strict=strict))


def _files(settings: Settings) -> tuple[Files, list[Finding]]:
    """Return the files, or why not even their names can be read."""
    try:
        return migrate.load(settings), []
    except MigrationFileError as error:
        return Files((), (), ()), [check.refusal(error)]


def _chosen(
    settings: Settings,
    files: Files,
    paths: tuple[Path, ...],
    since: str | None,
    *,
    pending: bool,
) -> tuple[tuple[Migration, ...], int]:
    """Return the files to look at, and the version of the server they are for."""
    folder = sql_folder(settings)
    if not choosing.every(files):
        return (), OLDEST_SERVER
    if paths:
        return choosing.named(files, folder, paths), OLDEST_SERVER
    if since:
        return choosing.since(files, folder, since), OLDEST_SERVER
    if pending:
        found, server = answer(partial(_ask, files))
        return choosing.pending(files, found), server
    return choosing.every(files), OLDEST_SERVER


async def _ask(files: Files, settings: Settings) -> tuple[Survey, int]:
    """Return what is pending in the database, and the version of its server."""
    async with Session(settings) as session:
        conn = await session.connection()
        found = await survey(conn, choosing.tolerant(files), settings.shared_schema)
        return found, conn.get_server_version().major


def _squawk(version: int, *, required: bool) -> classic.Squawk | None:
    found = classic.installed(version)
    if found is None and required:
        raise classic.SquawkError("squawk is not installed: pip install 'tenancy[lint]'")
    if found is None:
        click.echo(
            "squawk is not installed, so its classic rules were not asked: "
            "pip install 'tenancy[lint]'",
            err=True,
        )
    return found


def _print(findings: list[Finding], files: int, *, squawk: bool, as_json: bool) -> None:
    if as_json:
        print_objects(map(output.finding_object, findings))
        print_objects([output.summary_object(findings, files, squawk=squawk)])
    else:
        print_lines(output.lines(findings))
        print_lines([output.summary(findings, files)])


def _exit(findings: list[Finding], *, strict: bool) -> Exit:
    levels = {one.level for one in findings}
    return Exit.LINT if Level.ERROR in levels or (strict and levels) else Exit.CURRENT
