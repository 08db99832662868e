"""What a schema is made of, told in words that mean the same in every database."""

import json
from collections.abc import Iterable
from dataclasses import replace

import asyncpg

from tenancy.errors import NotPortableError
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.shape.description import TENANT, Object, describe
from tenancy.migrate.shape.differences import Difference
from tenancy.migrate.shape.differences import differences as compared
from tenancy.provision import Administrator

MOST = 5  # named in an error


async def objects(
    conn: asyncpg.Connection, admin: Administrator, schema: SchemaRef
) -> tuple[Object, ...]:
    """Return all that is in *schema*, without the names of its owner and of the tenant's role.

    Args:
        conn: that sees it.
        admin: knows whom requests run as.
        schema: a tenant's.
    """
    grantee, _ = await admin.rights.grantee(schema.name)
    # The schema itself says who owns it, and all that is made elsewhere has one owner.
    return tuple(
        replace(one, aspects=_placeless(one, grantee))
        for one in await describe(conn, schema)
        if one.kind != "schema"
    )


def differences(
    here: Iterable[Object], there: Iterable[Object], *, rights: bool
) -> tuple[Difference, ...]:
    """Return in what *here* differs from *there*; grants only where *rights* are to be alike."""
    found = compared(here, there)
    return tuple(one for one in found if rights or one.aspect != "grants")


def refused(differing: Iterable[Difference]) -> NotPortableError:
    """Return the error of a schema that has come out different."""
    found = list(map(str, differing))
    more = f"; and {len(found) - MOST} more" if len(found) > MOST else ""
    return NotPortableError(
        f"what was made here is not what was there: {'; '.join(found[:MOST])}{more}"
    )


def written(found: Iterable[Object]) -> bytes:
    """Return *found* as a file."""
    rows = [[one.kind, one.name, one.parent, dict(one.aspects)] for one in found]
    return (json.dumps(rows, indent=0, ensure_ascii=False) + "\n").encode()


def read(text: bytes) -> tuple[Object, ...]:
    """Return what `written` has written."""
    return tuple(Object(*row) for row in json.loads(text))


def _placeless(one: Object, grantee: str) -> dict[str, str]:
    aspects = {name: text for name, text in one.aspects.items() if name != "owner"}
    if "grants" in aspects:
        entries = aspects["grants"].split(", ")
        aspects["grants"] = ", ".join(
            f"{entry[0]}{TENANT}{entry[1 + len(grantee) :]}"
            if entry[1:].startswith(f"{grantee}=")
            else entry
            for entry in entries
        )
    return aspects
