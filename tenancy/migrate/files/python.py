"""Migrations in Python: read and checked, never imported here."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from typing import Any

from tenancy.migrate.files.directives import Word, directives, options
from tenancy.migrate.files.parts import Part
from tenancy.migrate.files.source import Source

_DIRECTIVE = re.compile(r"#\s*migrate:(?P<name>\S*)(?P<options>.*)", re.IGNORECASE)


def read(source: Source) -> tuple[Part, Part | None]:
    """Return what goes up of a Python file, ``async def up(context)``, and what goes down if any.

    Raises:
        MigrationFileError: it is not that, or a directive is not understood.
    """
    try:
        tree = ast.parse(source.text)
    except SyntaxError as error:
        offset = _offset(source.text, error.lineno or 1, (error.offset or 1) - 1)
        raise source.refusal(offset, f"this is no Python: {error.msg}") from error
    given = _directives(source)
    steps = {
        node.name: node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in {"up", "down"}
    }
    for step in steps.values():
        _require_step(source, step)
    if "up" not in steps:
        raise source.refusal(0, "a migration in Python needs `async def up(context)`")
    if "down" in given and "down" not in steps:
        raise source.refusal(0, "migrate:down is said of a file without `async def down(context)`")
    up, down = (Part(source, directives(given.get(name, {}))) for name in ("up", "down"))
    return up, down if "down" in steps else None


def _require_step(source: Source, step: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    arguments = [*step.args.posonlyargs, *step.args.args]
    needed = len(arguments) - len(step.args.defaults)
    unset = [one for one in step.args.kw_defaults if one is None]
    takes_one = needed <= 1 and not unset and (arguments or step.args.vararg)
    if not isinstance(step, ast.AsyncFunctionDef) or not takes_one:
        at = _offset(source.text, step.lineno, step.col_offset)
        raise source.refusal(at, f"write `async def {step.name}(context)`")


def _directives(source: Source) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for text, start in _comments(source.text):
        match = _DIRECTIVE.match(text)
        if match is None:
            continue
        name = match["name"].lower()
        if name not in {"up", "down"}:
            raise source.refusal(start, f"migrate:{match['name']} is no directive: use migrate:up")
        if name in found:
            raise source.refusal(start, f"migrate:{name} stands here a second time")
        words = [
            Word(word.group(), start + match.start("options") + word.start())
            for word in re.finditer(r"\S+", match["options"])
        ]
        found[name] = options(words, source.refusal)
        if name == "down" and found[name].pop("order_any", None):
            raise source.refusal(words[0].start, "order:any is for migrate:up alone")
    return found


def _comments(text: str) -> Iterator[tuple[str, int]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string, _offset(text, token.start[0], token.start[1])


def _offset(text: str, line: int, column: int) -> int:
    """Return the offset of *column*, from 0, in *line*, from 1."""
    at = 0
    for _ in range(line - 1):
        at = text.find("\n", at) + 1
    return min(at + column, len(text))
