"""The tree of commands, walked as click walks it."""

import re
import shlex
from collections.abc import Iterator

import click

from tenancy.commands.tree import cli

_NO_PART = re.compile(r"\s(?:(\||>|2>|&&)\s.*|&$)")


def walk(
    node: click.Command = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Each command with its path, groups too."""
    yield path, node
    if isinstance(node, click.Group):
        context = click.Context(node)
        for name in node.list_commands(context):
            found = node.get_command(context, name)
            assert found is not None, f"{' '.join(path)} lists {name} and has none"
            yield from walk(found, (*path, name))


def examples(text: str) -> list[str]:
    """The command lines in a help text or a paper, without what a shell does with them."""
    found = re.findall(r"(?:^|Examples?: )\s*(python -m tenancy[. ].*)$", text, re.MULTILINE)
    return [_NO_PART.sub("", line).strip() for line in found]


def parse(line: str) -> click.Command:
    """Return the command of *line*, whose words click has checked one by one.

    Raises:
        click.UsageError: click does not take them.
    """
    words = shlex.split(line, comments=True)[2:]
    args = words[1:] if words[0] == "tenancy" else ["migrate", *words[1:]]
    node: click.Command = cli
    name, context = "tenancy", None
    while True:
        try:
            context = node.make_context(name, list(args), parent=context)
        except click.BadParameter as error:  # a file of the reader's
            if "does not exist" in error.message:
                return node
            raise
        if not isinstance(node, click.Group):
            return node
        rest = [*context._protected_args, *context.args]
        _, found, args = node.resolve_command(context, rest)
        assert found is not None
        name, node = str(found.name), found
