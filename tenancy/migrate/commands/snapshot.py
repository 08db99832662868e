"""The command that makes what new tenants start from: snapshot."""

import asyncio
import difflib
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from tenancy import migrate
from tenancy.exits import Exit, cancelled_by, exit_codes
from tenancy.migrate.commands.common import (
    answer,
    debug_option,
    json_option,
    print_lines,
    print_objects,
)
from tenancy.migrate.files.folder import sql_folder
from tenancy.migrate.origin.snapshot import written
from tenancy.migrate.shape.snapshot import LABEL, Snapshot
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
@json_option
@debug_option
def snapshot(*, check: bool, no_seeds: bool, frozen: bool, as_json: bool, debug: bool) -> None:
    """Make snapshot/tenant.sql, which new tenants start from, and prove it.

    The files of tenants are applied to a schema of its own, which is dropped again; a second one is
    made from the snapshot, and must be the same. The file belongs beside the others in git.

    Example: python -m tenancy.migrate snapshot --check
    """
    signals: list[int] = []

    async def make(settings: Settings) -> tuple[Snapshot, str | None]:
        with cancelled_by(signals):
            made = await migrate.snapshot(settings, with_seeds=not no_seeds, frozen=frozen)
            folder = sql_folder(settings)
            there = await asyncio.to_thread(_text, folder / LABEL)
            if there != made.text and not check:
                await asyncio.to_thread(written, made, folder)
            return made, there

    with exit_codes(signals, debug=debug):
        made, there = answer(make)
        current = there == made.text
        if as_json:
            told = {"file": LABEL, "version": made.version, "current": current}
            print_objects([{**told, "written": not (current or check)}])
        else:
            print_lines(_told(made, there, check=check))
        sys.exit(Exit.PENDING if check and not current else Exit.CURRENT)


def _told(made: Snapshot, there: str | None, *, check: bool) -> Iterator[str]:
    if there == made.text:
        yield f"{LABEL} is current: version {made.version}"
        return
    if not check:
        yield f"{LABEL} written: version {made.version}, proved against the files"
        return
    reason = "is not what the files make" if there else "does not exist"
    click.echo(f"{LABEL} {reason}: run `python -m tenancy.migrate snapshot`", err=True)
    if there:
        lines = difflib.unified_diff(
            there.splitlines(), made.text.splitlines(), LABEL, "the files", n=1, lineterm=""
        )
        for line, _ in zip(lines, range(DIFFERING_LINES), strict=False):
            yield line


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return ""
