"""The command that makes what new tenants start from: snapshot."""

import asyncio
import difflib
import sys
from pathlib import Path

import click

from tenancy import migrate
from tenancy.exits import Exit, cancelled_by, exit_codes
from tenancy.migrate.commands.common import answer, debug_option
from tenancy.migrate.files.folder import sql_folder
from tenancy.migrate.origin.snapshot import written
from tenancy.migrate.shape.snapshot import LABEL
from tenancy.settings import Settings

DIFFERING_LINES = 20


@click.command()
@click.option(
    "--check", is_flag=True, help="Write nothing; exit with 5 if the file is not what it would be."
)
@click.option("--no-seeds", is_flag=True, help="Refuse files that insert rows.")
@click.option(
    "--frozen",
    is_flag=True,
    help="Give every tenant this run's values where the files insert other ones each time.",
)
@debug_option
def snapshot(*, check: bool, no_seeds: bool, frozen: bool, debug: bool) -> None:
    """Make snapshot/tenant.sql, which new tenants start from, and prove it.

    The files of tenants are applied to a schema of its own, which is dropped again; a second one is
    made from the snapshot, and must be the same. The file belongs beside the others in git.

    Example: python -m tenancy.migrate snapshot --check
    """
    signals: list[int] = []

    async def make(settings: Settings) -> Exit:
        with cancelled_by(signals):
            return await _snapshot(settings, check=check, no_seeds=no_seeds, frozen=frozen)

    with exit_codes(signals, debug=debug):
        sys.exit(answer(make))


async def _snapshot(settings: Settings, *, check: bool, no_seeds: bool, frozen: bool) -> Exit:
    folder = sql_folder(settings)
    made = await migrate.snapshot(settings, with_seeds=not no_seeds, frozen=frozen)
    there = await asyncio.to_thread(_text, folder / LABEL)
    if there == made.text:
        click.echo(f"{LABEL} is current: version {made.version}")
        return Exit.CURRENT
    if not check:
        await asyncio.to_thread(written, made, folder)
        click.echo(f"{LABEL} written: version {made.version}, proved against the files")
        return Exit.CURRENT
    reason = "is not what the files make" if there else "does not exist"
    click.echo(f"{LABEL} {reason}: run `python -m tenancy.migrate snapshot`", err=True)
    if there:
        lines = difflib.unified_diff(
            there.splitlines(), made.text.splitlines(), LABEL, "the files", n=1, lineterm=""
        )
        for line, _ in zip(lines, range(DIFFERING_LINES), strict=False):
            click.echo(line)
    return Exit.PENDING


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return ""
