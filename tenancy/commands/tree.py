"""The tree of commands, the same under `python -m tenancy`, `tenancy` and `quart tenancy`."""

import importlib
import logging

import click

from tenancy.commands.examples import unwrapped
from tenancy.exits import exit_codes

# Each command, and the module that it is in, which is imported when the command is asked for: a
# shell that completes a word, and every command of `quart`, waits for the root alone.
COMMANDS = {
    "serve": "tenancy.commands.serve:serve",
    "tenants": "tenancy.commands.everything:tenants",
    "reports": "tenancy.commands.reports:reports",
    "shell": "tenancy.commands.shell:shell",
    "audit": "tenancy.commands.audit:audit",
    "admin": "tenancy.commands.admin:admin",
    "tokens": "tenancy.commands.tokens:tokens",
    "maintain": "tenancy.commands.maintain:maintain",
    "doctor": "tenancy.commands.doctor:doctor",
    "walls": "tenancy.commands.walls:walls",
    "migrate": "tenancy.migrate.__main__:migrate_group",
    "leakcheck": "tenancy.leakcheck.command:leakcheck",
    "settings": "tenancy.commands.settings:settings",
    "completion": "tenancy.commands.completion:completion",
}


class Tree(click.Group):
    """The root, which ends with our exit codes whatever it hangs on."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Return the names of all, in the order in which one needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command called *name*, imported now."""
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name].partition(":")
        return unwrapped(getattr(importlib.import_module(module), attribute))

    def invoke(self, ctx: click.Context) -> object:
        """Run what the command line says."""
        with exit_codes():
            return super().invoke(ctx)


@click.group(cls=Tree, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tenancy")
def cli() -> None:
    """Schema-per-tenant PostgreSQL for async Python.

    Settings come from TENANCY_* variables and a .env file; without TENANCY_DATABASE_URL an embedded
    PostgreSQL is started for the time of the command.

    \b
    Exit codes: 0 done, 1 a fault of ours, 2 usage, settings or an unknown name,
    3 something of a tenant failed, 4 the database cannot be reached or used, or lacks something,
    5 pending, 6 refused, 7 a leak, or a run stopped by its rule, 8 nothing checked, or lint,
    75 somebody else holds a lock, 128 + N ended by signal N.

    Example: python -m tenancy tenants create acme
    """  # noqa: D301 - click keeps the lines after the character itself
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
