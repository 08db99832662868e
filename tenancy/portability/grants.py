"""Rights in a structure, for whoever owns it and whoever runs requests in the next place; pure.

pg_dump names roles. The tenant's and the owner's are others elsewhere; all the rest mean the same.
"""

from collections.abc import Iterator

from tenancy.migrate.files.splitter import Kind, Token, tokens
from tenancy.migrate.shape.dump import PLACEHOLDER

GRANTEE = "__tenancy_grantee__"  # whoever requests run as

_OF_RIGHTS = ("GRANT ", "REVOKE ", "ALTER DEFAULT PRIVILEGES ")
_BEFORE_A_ROLE = {"TO", "FROM", "ROLE"}


def is_of_rights(statement: str) -> bool:
    """Whether *statement* gives or takes rights."""
    return statement.startswith(_OF_RIGHTS)


def concerns_grantee(statement: str) -> bool:
    """Whether the right is that of whoever requests run as."""
    return GRANTEE in statement


def homeless(statement: str, *, schema: str, grantee: str, owner: str) -> str:
    """Return *statement*, one of rights, without the names of this place.

    Args:
        statement: of `dump.statements`.
        schema: the schema's name as an SQL identifier; the tenant's role is called so too.
        grantee: whoever requests run as, likewise.
        owner: likewise.
    """
    return "".join(_homeless(list(tokens(statement)), schema, grantee, owner))


def _homeless(pieces: list[Token], schema: str, grantee: str, owner: str) -> Iterator[str]:
    before = ""
    for token in pieces:
        text = token.text
        if before in _BEFORE_A_ROLE and text in {PLACEHOLDER, schema, grantee}:
            text = GRANTEE if text != owner else "CURRENT_USER"
        elif before in _BEFORE_A_ROLE and text == owner:
            text = "CURRENT_USER"
        elif before == "SCHEMA" and text == schema:
            text = PLACEHOLDER
        if not token.silent:
            before = token.word if token.kind is Kind.WORD else ""
        yield text
