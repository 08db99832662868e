"""``python -m tenancy.migrate``: the group of commands; each is in commands/."""

import click

from tenancy.migrate.commands import adopt, look, mend, new, snapshot, up


class _UpByDefault(click.Group):
    """A group whose command `up` may be left out, options and all."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks_for_help = bool(set(args[:1]) & set(self.get_help_option_names(ctx)))
        if not args or (args[0].startswith("-") and not asks_for_help):
            args = ["up", *args]
        return super().parse_args(ctx, args)


@click.group("migrate", cls=_UpByDefault, context_settings={"help_option_names": ["-h", "--help"]})
def migrate_group() -> None:
    """Bring the schemas of all tenants to what the files in TENANCY_SQL_DIR say.

    No command: up. Results go to stdout, everything else to stderr.

    \b
    Exit codes: 0 all at the target, 1 a fault of the migrator, 2 usage or settings,
    3 some tenants failed, 4 the database cannot be reached or used, 5 pending (plan --check),
    6 refused, 75 another run holds the lock, 130 and 143 interrupted.
    """  # noqa: D301 - click keeps the lines after the character itself


for _command in (
    up.up,
    look.plan,
    look.status,
    mend.resolve,
    mend.down,
    new.new,
    snapshot.snapshot,
    adopt.adopt,
):
    migrate_group.add_command(_command)

if __name__ == "__main__":
    migrate_group(prog_name="python -m tenancy.migrate")
