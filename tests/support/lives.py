"""What a database says of its tenants, and a schema with a bit of everything."""

from contextlib import suppress
from urllib.parse import urlsplit

import asyncpg

from support.databases import Database, superuser
from tenancy.provision import Administrator

# A view of a view, partitions, a cycle of foreign keys, one to a table that all share, functions
# that need a table and that a table needs, types of all kinds, what has no batch of its own.
EVERYTHING = """
    CREATE TYPE mood AS ENUM ('good', 'bad');
    CREATE TYPE pair AS (a int, b text);
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE TYPE span AS RANGE (subtype = int);
    CREATE SEQUENCE counter;
    CREATE FUNCTION double(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * n';
    CREATE TABLE people (id serial PRIMARY KEY, mood mood, pair pair, n positive, span span,
                         boss int REFERENCES people, twice int CHECK (twice = double(1)),
                         language text REFERENCES shared.languages (code), big text);
    CREATE TABLE teams (id int PRIMARY KEY DEFAULT nextval('counter'),
                        lead int REFERENCES people);
    ALTER TABLE people ADD team int REFERENCES teams;
    CREATE INDEX ON people (double(twice));
    CREATE VIEW happy AS SELECT * FROM people WHERE mood = 'good';
    CREATE VIEW happier AS SELECT id FROM happy;
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM happier;
    CREATE TABLE events (at date, id int) PARTITION BY RANGE (at);
    CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')
        PARTITION BY LIST (id);
    CREATE TABLE events_1_1 PARTITION OF events_1 FOR VALUES IN (1);
    CREATE TABLE parent (id int);
    CREATE TABLE "Child ""odd"" one" () INHERITS (parent);
    CREATE FUNCTION of_people(p people) RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER stamp BEFORE INSERT ON people FOR EACH ROW EXECUTE FUNCTION stamp();
    CREATE PROCEDURE nothing() LANGUAGE sql AS '';
    CREATE AGGREGATE total (int) (SFUNC = int4pl, STYPE = int);
    CREATE OPERATOR <+> (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl);
    CREATE COLLATION plain FROM "C";
    CREATE STATISTICS together ON id, team FROM people;
    CREATE TEXT SEARCH CONFIGURATION words (COPY = pg_catalog.simple);
    CREATE RULE quiet AS ON DELETE TO teams DO INSTEAD NOTHING;
    INSERT INTO people (big) SELECT repeat('x', 100000) FROM generate_series(1, 3);
"""

_TRACES = """
    SELECT 'tenant', slug FROM tenancy.tenants
    UNION ALL SELECT 'domain', name FROM tenancy.domains
    UNION ALL SELECT 'schema', nspname FROM pg_namespace WHERE nspname !~ '^pg_'
    UNION ALL SELECT 'role', rolname FROM pg_roles
        WHERE rolname IN (SELECT schema_name FROM tenancy.tenants)
    UNION ALL SELECT 'membership', r.rolname || ' of ' || l.rolname
        FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
        JOIN pg_roles l ON l.oid = m.member
        WHERE r.rolname LIKE $1 AND l.rolname = ANY ($2)
    UNION ALL SELECT 'ledger', table_name || ' ' || schema_name FROM (
        SELECT 'migrations' AS table_name, schema_name FROM tenancy.migrations
        UNION ALL SELECT 'checkpoints', schema_name FROM tenancy.checkpoints
        UNION ALL SELECT 'steps', schema_name FROM tenancy.steps
        UNION ALL SELECT 'backfills', schema_name FROM tenancy.backfills
        UNION ALL SELECT 'failures', schema_name FROM tenancy.failures
        UNION ALL SELECT 'reversals', schema_name FROM tenancy.reversals) AS ledger
    UNION ALL SELECT 'relation', c.oid::regclass::text FROM pg_class c
        JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname !~ '^pg_'
    UNION ALL SELECT 'function', p.oid::regprocedure::text FROM pg_proc p
        JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname !~ '^pg_'
    UNION ALL SELECT 'constraint', conname || ' of ' || conrelid::regclass FROM pg_constraint
    UNION ALL SELECT 'trigger', tgrelid::regclass::text FROM pg_trigger
    ORDER BY 1, 2
"""


def logins(database: Database) -> tuple[str, str]:
    """Return the logins of *database*, which are this test run's own."""
    of_owner, of_requests = urlsplit(database.admin_url), urlsplit(database.app_url)
    return of_owner.username or "", of_requests.username or ""


async def traces(database: Database, slug: str = "initech") -> list[tuple[str, ...]]:
    """Tenants, domains, ledger, everything in schemas, and the roles of those called *slug*.

    Of the latter those that this database's logins are members of: the server may have others.
    """
    like = f"t\\_{slug.replace('-', '_')}\\_%" if slug else "t\\_%"
    async with superuser(database.superuser_url) as conn:
        return [tuple(row) for row in await conn.fetch(_TRACES, like, list(logins(database)))]


async def furnish(admin: Administrator, schema: str, sql: str = EVERYTHING) -> None:
    """Make `EVERYTHING` in *schema*, as the owner of schemas."""
    conn = admin.connection
    async with conn.transaction():
        await conn.execute(f'SET LOCAL search_path = "{schema}"')
        await conn.execute(sql)


def cut_after(conn: asyncpg.Connection, statements: int) -> None:
    """Lose *conn* as soon as it has run so many more statements, as a killed process would."""
    left = statements

    def count(_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            with suppress(Exception):
                conn.terminate()

    conn.add_query_logger(count)
