"""The command that puts the ledger right: repair."""

import json
import sys
from functools import partial

import click

from tenancy.commands.slugs import slugs
from tenancy.exits import Exit, exit_codes
from tenancy.migrate.commands.common import (
    agree,
    answer,
    debug_option,
    json_option,
    print_lines,
    print_objects,
)
from tenancy.migrate.upkeep import telling
from tenancy.migrate.upkeep.mending import Wanted
from tenancy.migrate.upkeep.repair import repairs
from tenancy.migrate.upkeep.restored import restored
from tenancy.settings import Settings


@click.command()
@click.argument("versions", nargs=-1, metavar="[VERSION...]")
@click.option(
    "--accept-checksum",
    "checksums",
    is_flag=True,
    help="Accept files that were changed after they were applied: all, or those of VERSION.",
)
@click.option(
    "--accept-missing",
    "missing",
    multiple=True,
    metavar="VERSION",
    help="Forget a tenants' file that does not exist any more; repeatable.",
)
@click.option(
    "--rebuild-checkpoint",
    "checkpoints",
    is_flag=True,
    help="Believe the ledger's rows where they do not add up to the checkpoint.",
)
@click.option(
    "--forget-gone", is_flag=True, help="Drop what the ledger has of schemas that do not exist."
)
@click.option(
    "--restored",
    "is_restored",
    is_flag=True,
    help="After a restore from a dump, or pg_upgrade: let the ledger follow the schemas.",
)
@click.option(
    "--tenant",
    "tenants",
    multiple=True,
    metavar="SLUG",
    shell_complete=slugs,
    help="Only it; repeatable.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@debug_option
def repair(  # noqa: PLR0913 - its options
    versions: tuple[str, ...],
    *,
    checksums: bool,
    missing: tuple[str, ...],
    checkpoints: bool,
    forget_gone: bool,
    is_restored: bool,
    tenants: tuple[str, ...],
    yes: bool,
    as_json: bool,
    debug: bool,
) -> None:
    """Put the ledger right; touches no tenant's tables.

    Says what would change and asks. Exits with 6 where something cannot be put right like this.

    Example: python -m tenancy.migrate repair --accept-checksum 0012
    """
    wanted = Wanted(checksums, checkpoints, frozenset(missing), frozenset(versions))
    other = wanted != Wanted(versions=wanted.versions) or forget_gone
    if is_restored and (other or versions or tenants):
        raise click.UsageError("--restored is about all schemas, and is done first: by itself")
    if not other and not is_restored:
        raise click.UsageError("say what to repair: see --help")
    if versions and not checksums:
        raise click.UsageError("VERSION goes with --accept-checksum")
    if forget_gone and tenants:
        raise click.UsageError("--forget-gone is for schemas that are no tenant's: leave --tenant")

    async def run(settings: Settings) -> Exit:
        async with repairs(settings, wanted, tenants=tenants, forget_gone=forget_gone) as found:
            told = telling.repair_objects(found) if as_json else ()
            print_lines(map(json.dumps, told) if as_json else telling.repair_lines(found))
            if not found.ready and not found.gone:
                print_lines([] if as_json or found.refused else ["nothing to put right"])
            else:
                agree("Change the ledger like this?", yes=yes)
                _tell_done(await found.carry_out(), as_json=as_json)
            return Exit.REFUSED if found.refused else Exit.CURRENT

    with exit_codes(debug=debug):
        sys.exit(answer(partial(_restored, yes=yes, as_json=as_json) if is_restored else run))


async def _restored(settings: Settings, *, yes: bool, as_json: bool) -> Exit:
    async with restored(settings) as found:
        if as_json:
            print_objects(telling.restored_objects(found))
        else:
            print_lines(telling.restored_lines(found))
        if found.recognized:
            agree("Let the ledger follow them?", yes=yes)
            _tell_done(await found.carry_out(), as_json=as_json)
        return Exit.REFUSED if found.doubtful else Exit.CURRENT


def _tell_done(count: int, *, as_json: bool) -> None:
    if as_json:
        print_objects([{"event": "repaired", "schemas": count}])
    else:
        print_lines([f"{count:,} {'schema' if count == 1 else 'schemas'} put right"])
