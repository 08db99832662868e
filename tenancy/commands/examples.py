"""Examples in help texts, which are to be pasted: kept on lines of their own, unwrapped."""

import re

import click

_EXAMPLE = re.compile(r"\s*\n\s*(Examples?:)\s+(?=python -m)")


def unwrapped(command: click.Command) -> click.Command:
    """Return *command* with its example as it was written, and with those of its commands."""
    if command.help and "\b" not in command.help:
        command.help = _EXAMPLE.sub(r"\n\n\b\n\1 ", command.help.rstrip())
    for below in getattr(command, "commands", {}).values():
        unwrapped(below)
    return command
