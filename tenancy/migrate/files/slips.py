"""Comments that were meant to part a file, and that no tool here reads.

Taken for a remark, ``-- migrate down`` would have the way back run right after the way up.
"""

import re
from collections.abc import Collection, Iterator

from tenancy.migrate.files.source import Source
from tenancy.migrate.files.splitter import Kind, Token

_TOOLS = r"(?:db-?mate|migrate|migrations?|goose|micrate|rambler|tern)"
_WAY = r"(?:up|down|ups|downs|undo)"
_SLIP = re.compile(
    rf"""^[ \t]*(?:--|/\*)[ \t/*@+!\#-]*
    (?:
        (?P<tool>{_TOOLS}[ \t:.,;_+-]*)? {_WAY} (?:[ \t]+(?:migrations?|script|\w+:\w+))*
        | (?P<split>create[ ]above[ ]*/[ ]*drop[ ]below\b.*)
    )
    [ \t:*/-]*$""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_COMMENTS = frozenset({Kind.LINE_COMMENT, Kind.BLOCK_COMMENT})


def refuse(source: Source, read: Collection[int]) -> None:
    """Pass if no comment of *source* is a slip, but for those that begin at one of *read*.

    Raises:
        MigrationFileError: one is; names its place.
    """
    for token in _slips(source):
        if token.start not in read:
            text = " ".join(token.text.split())
            raise source.refusal(
                token.start,
                f"{text!r} is read by nobody, and what stands below would go up: write "
                "`-- migrate:up` or `-- migrate:down`, or put the remark in other words",
            )


def _slips(source: Source) -> Iterator[Token]:
    """Yield the comments of *source* that say up or down and nothing else.

    A heading such as ``-- Up``, with no statement above it, does no harm.
    """
    if not _SLIP.search(source.text):
        return  # most texts, and they need not be cut into tokens to know
    above = False
    for token in source.tokens:
        if token.kind in _COMMENTS:
            match = _SLIP.fullmatch(token.text.rstrip())
            if match and (above or match["tool"] or match["split"]):
                yield token
        above = above or not (token.silent or token.text == ";")
