"""A schema that was there before us: whether it can be a tenant's, and what is in the way."""

from dataclasses import dataclass

import asyncpg

from tenancy.errors import MigrationRefusedError
from tenancy.identifiers import CATALOG_SCHEMA, quoted
from tenancy.migrate.ledger.records import SchemaRef

MOST = 20  # named in one message

_FOUND = """
    SELECT n.oid, n.nspname::text AS name, pg_catalog.quote_ident(n.nspname) AS quoted,
           t.slug IS NOT NULL AS taken
    FROM pg_catalog.pg_namespace AS n LEFT JOIN tenancy.tenants AS t ON t.schema_name = n.nspname
    WHERE n.nspname = $1
"""
# Of a column: it follows its table. Of a table or an array: likewise.
_OF_A_COLUMN = """
    EXISTS (SELECT FROM pg_catalog.pg_depend WHERE objid = pg_class.oid
            AND classid = 'pg_class'::regclass AND deptype IN ('a', 'i') AND refobjsubid > 0)
"""
_OF_A_TABLE = """
    typrelid <> 0 AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = typrelid AND c.relkind = 'c')
    OR EXISTS (SELECT FROM pg_catalog.pg_type AS e WHERE e.typarray = pg_type.oid)
"""
_KINDS = (
    ("pg_class", "rel", f"relkind IN ('i', 'I', 't', 'c') OR relkind = 'S' AND {_OF_A_COLUMN}"),
    ("pg_type", "typ", f"typtype = 'm' OR {_OF_A_TABLE}"),
    ("pg_proc", "pro", "false"),
    ("pg_operator", "opr", "false"),
    ("pg_opclass", "opc", "false"),
    ("pg_opfamily", "opf", "false"),
    ("pg_collation", "coll", "false"),
    ("pg_conversion", "con", "false"),
    ("pg_statistic_ext", "stx", "false"),
    ("pg_ts_dict", "dict", "false"),
    ("pg_ts_config", "cfg", "false"),
)
_OWNED = " UNION ALL ".join(
    f"SELECT '{catalog}'::regclass, oid, {prefix}owner FROM pg_catalog.{catalog} "
    f"WHERE {prefix}namespace = $1 AND NOT ({follows})"
    for catalog, prefix, follows in _KINDS
)
_FOREIGN = f"""
    SELECT pg_catalog.format('ALTER %s %s OWNER TO %I', upper(i.type), i.identity, current_user)
               AS statement,
           pg_catalog.pg_has_role(o.owner, 'USAGE') AS ours,
           pg_catalog.pg_get_userbyid(o.owner)::text AS owner
    FROM (SELECT 'pg_namespace'::regclass, oid, nspowner FROM pg_catalog.pg_namespace WHERE oid = $1
          UNION ALL {_OWNED}) AS o (classid, oid, owner),
         LATERAL pg_catalog.pg_identify_object(o.classid, o.oid, 0) AS i
    WHERE o.owner <> (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user)
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                      WHERE d.classid = o.classid AND d.objid = o.oid AND d.deptype = 'e')
    ORDER BY o.classid <> 'pg_namespace'::regclass, o.classid, i.identity
"""
_EXTENSIONS = """
    SELECT extname::text FROM pg_catalog.pg_extension WHERE extnamespace = $1 ORDER BY extname
"""
# A path that is set for a function, or a body that names the schema: a new name would break both.
_NAMED_IN = r"""
    SELECT p.oid::regprocedure::text FROM pg_catalog.pg_proc AS p
    WHERE p.pronamespace = $1 AND (
        EXISTS (SELECT FROM unnest(p.proconfig) AS s
                WHERE starts_with(s, 'search_path=') AND s ~ ('\y' || $2 || '\y'))
        OR p.prosrc ~ ('\y' || $2 || '"?\.'))
    ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Inherited:
    """A schema as it was found; *quoted* is its name as an SQL identifier."""

    schema: SchemaRef
    quoted: str


async def find(conn: asyncpg.Connection, name: str, shared: str) -> Inherited:
    """Return the schema *name*, which can be a tenant's.

    Raises:
        MigrationRefusedError: there is none, it is a tenant's already or the server's, or holds an
            extension.
    """
    row = await conn.fetchrow(_FOUND, name)
    if row is None:
        raise MigrationRefusedError(f"there is no schema {name!r} in this database")
    if row["taken"]:
        raise MigrationRefusedError(f"the schema {name!r} is a tenant's already")
    if name in {CATALOG_SCHEMA, shared, "information_schema"} or name.startswith("pg_"):
        raise MigrationRefusedError(f"the schema {name!r} can be no tenant's")
    extensions = [one["extname"] for one in await conn.fetch(_EXTENSIONS, row["oid"])]
    if extensions:
        raise MigrationRefusedError(
            f"the schema {name!r} holds what all tenants share, extensions: move them first, with "
            + "; ".join(f"ALTER EXTENSION {one} SET SCHEMA {shared}" for one in extensions)
        )
    return Inherited(SchemaRef(row["oid"], name), row["quoted"])


async def take(conn: asyncpg.Connection, found: Inherited) -> None:
    """Make the login of *conn* the owner of all in *found*, in its open transaction.

    Raises:
        MigrationRefusedError: it may not; gives the statements for somebody who may.
    """
    rows = await conn.fetch(_FOREIGN, found.schema.oid)
    barred = [row for row in rows if not row["ours"]]
    if barred:
        owners = ", ".join(sorted({row["owner"] for row in barred}))
        more = f"; and {len(barred) - MOST} more like these" if len(barred) > MOST else ""
        raise MigrationRefusedError(
            f"the schema {found.schema.name!r} is not this login's, but {owners}'s: run, as a "
            f"superuser or as a member of both, "
            + "; ".join(row["statement"] for row in barred[:MOST])
            + more
        )
    for row in rows:
        await conn.execute(row["statement"])


async def refuse_named(conn: asyncpg.Connection, found: Inherited) -> None:
    """Pass if no function of *found* knows the schema by its name, which is to change.

    Raises:
        MigrationRefusedError: names those that do.
    """
    rows = await conn.fetch(_NAMED_IN, found.schema.oid, found.schema.name)
    if rows:
        functions = ", ".join(row[0] for row in rows[:MOST])
        raise MigrationRefusedError(
            f"the schema gets a name of our own, and these functions know it as "
            f"{found.schema.name!r}: {functions}; make them again without that name, or rename the "
            "schema to one that begins with t_ first"
        )


async def close(conn: asyncpg.Connection, name: str) -> None:
    """Take from PUBLIC what it may in the schema *name*: other tenants' roles are of it."""
    schema = quoted(name)
    await conn.execute(
        f"REVOKE ALL ON SCHEMA {schema} FROM PUBLIC; "
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC; "
        f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM PUBLIC"
    )
