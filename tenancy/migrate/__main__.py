"""``python -m tenancy.migrate``: the group of commands; each is in commands/."""

import importlib

import click

from tenancy.commands.examples import unwrapped

# Each command and the module that it is in, which is imported when the command is asked for: a run
# that finds nothing pending takes as long as it takes to start.
COMMANDS = {
    "up": "up",
    "resume": "up",
    "plan": "plan",
    "status": "status",
    "verify": "verify",
    "baseline": "baseline",
    "repair": "repair",
    "unlock": "unlock",
    "resolve": "resolve",
    "down": "down",
    "new": "new",
    "snapshot": "snapshot",
    "adopt": "adopt",
    "lint": "lint",
    "rehearse": "rehearse",
}


class _UpByDefault(click.Group):
    """A group whose command `up` may be left out, options and all."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks_for_help = bool(set(args[:1]) & set(self.get_help_option_names(ctx)))
        if not args or (args[0].startswith("-") and not asks_for_help):
            args = ["up", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"tenancy.migrate.commands.{COMMANDS[name]}")
        return unwrapped(getattr(module, name))


@click.group("migrate", cls=_UpByDefault, context_settings={"help_option_names": ["-h", "--help"]})
def migrate_group() -> None:
    """Bring the schemas of all tenants to what the files in TENANCY_SQL_DIR say.

    No command: up. Results go to stdout, everything else to stderr.

    \b
    Exit codes: 0 all at the target, 1 a fault of the migrator, 2 usage or settings,
    3 some tenants failed, 4 the database cannot be reached or used, 5 pending (plan --check),
    6 refused, 7 stopped by the rule for failures, 8 lint found errors,
    75 another run holds the lock, 130 and 143 interrupted.
    """  # noqa: D301 - click keeps the lines after the character itself


if __name__ == "__main__":
    migrate_group(prog_name="python -m tenancy.migrate")
