"""`python -m tenancy completion`."""

import os

import click
from click.shell_completion import get_completion_class

PROGRAM = "tenancy"
VARIABLE = "_TENANCY_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", required=False, type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str | None) -> None:
    """Print what makes SHELL complete the commands, options and slugs of `tenancy`.

    That is the installed command, which is the same as python -m tenancy. Without SHELL: the one
    in the variable SHELL. For bash put into ~/.bashrc: eval "$(tenancy completion bash)"

    Example: python -m tenancy completion bash
    """
    name = shell or os.path.basename(os.environ.get("SHELL", ""))  # noqa: PTH119 - a name
    kind = get_completion_class(name)
    if kind is None:
        raise click.UsageError(f"the shell {name!r} is none of {', '.join(SHELLS)}: name one")
    click.echo(kind(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
