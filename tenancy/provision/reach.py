"""What DROP ... CASCADE would take along: how many objects, and what of it is somebody else's."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from tenancy.errors import SchemaSharedError
from tenancy.migrate.ledger.records import SchemaRef

MOST = 5  # named in one message

# What is dropped with an object: what depends on it, and, where that is a part of a whole, the
# whole. So the rule of a view, which depends on the table, leads to the view. PostgreSQL takes a
# lock for each ("pg_depend"; dependency.c, AcquireDeletionLock).
_REACH = """
    WITH RECURSIVE reach (classid, objid) AS (
        SELECT $1::oid, unnest($2::oid[])
        UNION
        SELECT e.classid, e.objid FROM reach AS r, LATERAL (
            SELECT d.classid, d.objid FROM pg_catalog.pg_depend AS d
            WHERE d.refclassid = r.classid AND d.refobjid = r.objid
            UNION ALL
            SELECT d.refclassid, d.refobjid FROM pg_catalog.pg_depend AS d
            WHERE d.classid = r.classid AND d.objid = r.objid AND d.deptype = 'i'
        ) AS e
    ),
    at_home AS (
        SELECT classid, objid, CASE classid
            WHEN 'pg_class'::regclass THEN
                (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = objid)
            WHEN 'pg_type'::regclass THEN
                (SELECT typnamespace FROM pg_catalog.pg_type WHERE oid = objid)
            WHEN 'pg_proc'::regclass THEN
                (SELECT pronamespace FROM pg_catalog.pg_proc WHERE oid = objid)
            WHEN 'pg_constraint'::regclass THEN
                (SELECT connamespace FROM pg_catalog.pg_constraint WHERE oid = objid)
            WHEN 'pg_attrdef'::regclass THEN
                (SELECT relnamespace FROM pg_catalog.pg_class AS c
                 JOIN pg_catalog.pg_attrdef AS a ON a.adrelid = c.oid WHERE a.oid = objid)
            WHEN 'pg_rewrite'::regclass THEN
                (SELECT relnamespace FROM pg_catalog.pg_class AS c
                 JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = c.oid WHERE w.oid = objid)
            WHEN 'pg_policy'::regclass THEN
                (SELECT relnamespace FROM pg_catalog.pg_class AS c
                 JOIN pg_catalog.pg_policy AS y ON y.polrelid = c.oid WHERE y.oid = objid)
            WHEN 'pg_trigger'::regclass THEN  -- a foreign key's is at the other table, and ours
                (SELECT relnamespace FROM pg_catalog.pg_class AS c
                 JOIN pg_catalog.pg_trigger AS g ON g.tgrelid = c.oid
                 WHERE g.oid = objid AND NOT g.tgisinternal)
            WHEN 'pg_extension'::regclass THEN 0
            WHEN 'pg_event_trigger'::regclass THEN 0
            ELSE (SELECT n.oid FROM pg_catalog.pg_identify_object(classid, objid, 0) AS i
                  JOIN pg_catalog.pg_namespace AS n ON n.nspname = i.schema)
            END AS schema
        FROM reach
    )
    SELECT count(*) AS objects,
           array_agg(DISTINCT pg_catalog.pg_describe_object(classid, objid, 0))
               FILTER (WHERE schema <> $3 AND NOT EXISTS (
                   SELECT FROM pg_catalog.pg_namespace AS n
                   WHERE n.oid = schema AND n.nspname ~ '^pg_(toast|temp)')) AS others
    FROM at_home
"""
# What a role owns outside of its schema, in this database. Its large objects and its default
# privileges are in no schema, and nobody's but the tenant's: they go with the role.
_OWNED = """
    SELECT pg_catalog.pg_describe_object(s.classid, s.objid, s.objsubid) AS described
    FROM pg_catalog.pg_roles AS r JOIN pg_catalog.pg_shdepend AS s
        ON s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid AND s.deptype = 'o',
         LATERAL pg_catalog.pg_identify_object(s.classid, s.objid, s.objsubid) AS i
    WHERE r.rolname = $1 AND i.schema IS DISTINCT FROM $1
      AND NOT (i.type = 'schema' AND i.name = $1)
      AND s.classid NOT IN ('pg_largeobject'::regclass, 'pg_default_acl'::regclass)
      AND s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    ORDER BY 1 LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class Reach:
    """What goes with some objects.

    Attributes:
        objects: how many go, these included: so many locks the server takes.
        others: those of them that are in no schema of the tenant's, in the server's words.
    """

    objects: int
    others: tuple[str, ...]

    def refuse_others(self) -> None:
        """Pass if all that goes is the tenant's.

        Raises:
            SchemaSharedError: something is not; names it.
        """
        if self.others:
            more = f" and {len(self.others) - MOST} more" if len(self.others) > MOST else ""
            raise SchemaSharedError(
                f"outside of the tenant's schema, and gone with it: {', '.join(self.others[:MOST])}"
                f"{more}; drop it first, or make it independent of the schema"
            )


async def measure(
    conn: asyncpg.Connection, schema: SchemaRef, catalog: str, oids: Sequence[int]
) -> Reach:
    """Return what goes with the objects *oids* of *schema*, all of them rows of *catalog*."""
    classid = await conn.fetchval("SELECT $1::text::regclass::oid", catalog)
    row = await conn.fetchrow(_REACH, classid, list(oids), schema.oid)
    return Reach(row["objects"], tuple(row["others"] or ()))


async def refuse_shared(conn: asyncpg.Connection, schema: SchemaRef) -> None:
    """Pass if *schema* and its role can go without anything else.

    Raises:
        SchemaSharedError: something outside depends on it, or is the role's; names it.
    """
    (await measure(conn, schema, "pg_namespace", [schema.oid])).refuse_others()
    if owned := [row["described"] for row in await conn.fetch(_OWNED, schema.name, MOST)]:
        raise SchemaSharedError(
            f"the tenant's role owns what is outside of its schema: {', '.join(owned)}; give it "
            "another owner, or drop it"
        )
