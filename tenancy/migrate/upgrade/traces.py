"""Where in a function's body an error arose, from the server's context, without a value; pure."""

import re

from tenancy.migrate.files.splitter import Kind, Statement, tokens

# The lines between hold the text of SQL statements, and that may hold values.
_FRAME = re.compile(
    r"^PL/pgSQL function (?P<name>[^\n]*?) line (?P<line>[0-9]+) at (?P<what>[a-zA-Z_ /]+)$",
    re.MULTILINE,
)
_INLINE = "inline_code_block"


def trace(error: BaseException, text: str, statement: Statement) -> list[str]:
    """Return the innermost PL/pgSQL frame of *error* in words, if it has one.

    Where it is the body of a DO *statement* of the file *text*, the line of the file is told too.
    """
    context = getattr(error, "context", None)
    frames = list(_FRAME.finditer(context)) if isinstance(context, str) else []
    said = [_words(frame, text, statement) for frame in frames]
    return said[:1] if len(said) < 2 else [said[0], said[-1]]  # noqa: PLR2004 - inner and outer


def _words(frame: re.Match[str], text: str, statement: Statement) -> str:
    line = int(frame["line"])
    if frame["name"] != _INLINE:
        return f"in {frame['name']} line {line} at {frame['what']}"
    body = next((one for one in tokens(statement.text) if one.kind is Kind.DOLLAR_STRING), None)
    if body is None:
        return f"in its line {line} at {frame['what']}"
    first = text.count("\n", 0, statement.start + body.start) + 1
    return f"in line {first + line - 1} of the file at {frame['what']}"
