"""Every rule of ours: what it finds, and what it must leave alone."""

from functools import partial
from pathlib import Path

import pytest

from tenancy.migrate.files.model import Files, Migration, Stage, Written
from tenancy.migrate.files.reading import Reading
from tenancy.migrate.files.source import Source
from tenancy.migrate.lint import check
from tenancy.migrate.lint.catalog import RULES

SHARED = """
    CREATE TABLE languages (code text PRIMARY KEY, number serial);
    CREATE TABLE currencies (code text PRIMARY KEY);
"""
EARLIER = "CREATE TABLE notes (id bigint PRIMARY KEY, body text); CREATE TABLE tags (id bigint);"
UNTRANSACTED = "-- migrate:up transaction:false\n"
BODY = "RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NEW; END $$;"
COUNTS = "RETURNS bigint LANGUAGE sql {} AS $$ SELECT count(*) FROM notes $$;"

# In each text of the first list ^ stands before what the rule must find; the others have nothing.
CASES: dict[str, tuple[list[str], list[str]]] = {
    "unreadable": (
        ["CREATE TABLE t (a text DEFAULT ^'never ends);"],
        ["CREATE TABLE t (a text DEFAULT 'it ends');"],
    ),
    "psql-command": (["^\\i other.sql"], ["SELECT E'\\n';"]),
    "copy-from-stdin": (
        ["^COPY notes FROM STDIN;"],
        ["COPY notes TO '/dev/null';", "SELECT 'COPY notes FROM STDIN';"],
    ),
    "not-in-transaction": (
        ["CREATE TABLE t (a int); ^CREATE INDEX CONCURRENTLY i ON t (a);"],
        [f"{UNTRANSACTED}CREATE INDEX CONCURRENTLY i ON notes (body);"],
    ),
    "transaction-control": (
        [
            "CREATE TABLE t (a int); ^ROLLBACK;",
            "^SAVEPOINT a;",
            "DO $$ BEGIN INSERT INTO notes VALUES (1); ^COMMIT; END $$;",
        ],
        [
            "BEGIN; CREATE TABLE t (a int); COMMIT;",  # the whole file: the migrator's own
            "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;",
            "COMMENT ON TABLE notes IS 'COMMIT';",
        ],
    ),
    "search-path": (
        [
            "^SET search_path TO public;",
            "^RESET ALL;",
            "^SET ROLE somebody;",
            "SELECT 1, ^set_config('search_path', 'x', true);",
            "DO $$ BEGIN ^SET LOCAL search_path = pg_catalog; END $$;",
        ],
        [
            "SELECT current_setting('search_path');",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET search_path FROM CURRENT "
            "AS $$ SELECT 1 $$;",
        ],
    ),
    "session-setting": (
        [
            "^SET lock_timeout = '1s';",
            "^SET client_min_messages = warning; SET check_function_bodies = off;",
            "^SET SESSION work_mem = '1GB';",
        ],
        ["SET LOCAL lock_timeout = '1s';", "SET CONSTRAINTS ALL DEFERRED;"],
    ),
    "temporary-table": (
        [
            "^CREATE TEMP TABLE seen (id int) ON COMMIT DROP;",
            "^CREATE TEMPORARY TABLE IF NOT EXISTS seen AS SELECT 1 AS id;",
        ],
        ["CREATE TEMP TABLE seen (id int); DROP TABLE seen;", "CREATE TABLE seen (id int);"],
    ),
    "shadowing-table": (
        ["^CREATE TEMP TABLE notes (id int); DROP TABLE notes;"],
        ["CREATE TEMP TABLE notes_before (id int); DROP TABLE notes_before;"],
    ),
    "other-schema": (
        [
            "INSERT INTO ^public.notes VALUES (1);",
            'SELECT count(*) FROM ^"public"."notes";',
            "CREATE TABLE ^t_acme_ab12cd.x (a int);",
            "SELECT n.id FROM ^tenancy.tenants n;",
            "SELECT ^'public.notes'::regclass;",
            "ALTER TABLE notes ALTER COLUMN id SET DEFAULT nextval(^'public.notes_id_seq');",
            "CREATE TABLE x (a ^public.citext);",
            "SELECT body::^extensions.citext FROM notes;",
            "SELECT ^auth.uid();",
            "ALTER TABLE x ADD FOREIGN KEY (a) REFERENCES ^billing.accounts (id);",
            f"CREATE FUNCTION f() {BODY.format('INSERT INTO ^audit.log VALUES (1);')}",
            "DO $$ BEGIN EXECUTE 'DROP TABLE ^public.notes'; END $$;",
            "DO $$ BEGIN EXECUTE format('DROP TABLE ^public.%I', 'notes'); END $$;",
            "^ALTER TABLE notes SET SCHEMA archive;",
            "SELECT 1 FROM information_schema.tables WHERE table_schema = ^'public';",
            "SELECT 1 FROM pg_namespace WHERE nspname IN (^'public');",
        ],
        [
            "SELECT n.id, n.body FROM notes n JOIN tags AS t ON t.id = n.id;",
            "UPDATE notes n SET body = t.body FROM tags t WHERE t.id = n.id;",
            "SELECT extract(epoch FROM n.at), substring(n.body FROM 2) FROM notes n;",
            "SELECT pg_catalog.now(), 'public.notes', n.a IS DISTINCT FROM n.b FROM notes n;",
            "SELECT code FROM shared.languages;",
            "COMMENT ON COLUMN notes.body IS 'public.notes';",
            "ALTER SEQUENCE s OWNED BY notes.id;",
            f"CREATE FUNCTION f() {BODY.format('SELECT count(*) INTO found.total FROM tags;')}",
            "INSERT INTO notes AS n VALUES (1) ON CONFLICT (id) DO UPDATE SET id = excluded.id;",
            "CREATE TRIGGER t AFTER UPDATE OF body ON notes FOR EACH ROW "
            "WHEN (old.body IS DISTINCT FROM new.body) EXECUTE FUNCTION f();",
            "SELECT (row_to_json(n.*) ->> 'a.b') FROM notes n FOR UPDATE OF n;",
            "SELECT 1 FROM information_schema.tables WHERE table_schema = current_schema();",
        ],
    ),
    "cluster-object": (
        [
            "^CREATE EXTENSION citext;",
            "^CREATE ROLE reader;",
            "^CREATE SCHEMA archive;",
            "^CREATE PUBLICATION p FOR ALL TABLES;",
            "^CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f();",
            "^CREATE CAST (text AS int) WITH INOUT;",
            "^DROP LANGUAGE plperl;",
            "DO $$ BEGIN IF true THEN ^CREATE EXTENSION citext; END IF; END $$;",
        ],
        ["CREATE TABLE roles (role text);", "CREATE INDEX user_role ON notes (body);"],
    ),
    "rights": (
        [
            "^GRANT SELECT ON notes TO reader;",
            "^ALTER TABLE notes OWNER TO postgres;",
            "^REVOKE ALL ON notes FROM reader;",
            "^ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader;",
        ],
        [
            "REVOKE ALL ON FUNCTION f() FROM PUBLIC;",
            "CREATE TABLE grants (owner text);",
            "ALTER SEQUENCE s OWNED BY notes.id;",
        ],
    ),
    "notification": (
        [
            "^NOTIFY changed;",
            f"CREATE FUNCTION f() {BODY.format('''PERFORM ^pg_notify('changed', NEW.body);''')}",
        ],
        [f"CREATE FUNCTION f() {BODY.format('''PERFORM pg_notify(current_schema(), '');''')}"],
    ),
    "catalog-probe": (
        [
            "SELECT 1 FROM ^pg_tables WHERE tablename = 'notes';",
            "SELECT count(*) FROM ^information_schema.columns WHERE table_name = 'notes';",
            "DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM ^pg_type WHERE typname = 'mood') THEN "
            "CREATE TABLE t (a int); END IF; END $$;",
            "SELECT 1 FROM ^pg_catalog.pg_constraint c WHERE c.conname = 'x';",
        ],
        [
            "SELECT 1 FROM pg_tables WHERE tablename = 'n' AND schemaname = current_schema();",
            "SELECT to_regclass('notes') IS NOT NULL;",
            "SELECT 1 FROM pg_constraint WHERE conrelid = 'notes'::regclass AND conname = 'x';",
            "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = current_schema();",
            "SELECT 1 FROM pg_roles WHERE rolname = 'reader';",
            "SELECT pg_tables FROM notes;",
            "DO $$ BEGIN PERFORM CASE WHEN n.nspname = current_schema() THEN 1 ELSE 0 END "
            "FROM pg_class c JOIN pg_namespace n ON true; END $$;",
            "DO $$ BEGIN PERFORM 1 WHERE EXISTS "
            "(SELECT 1 FROM pg_tables WHERE loop AND schemaname = current_schema()); END $$;",
        ],
    ),
    "shared-foreign-key": (
        ["CREATE TABLE t (code text REFERENCES ^languages);"],
        ["CREATE TABLE t (note bigint REFERENCES notes);"],
    ),
    "like-shared": (
        ["CREATE TABLE t (LIKE ^languages INCLUDING ALL);"],
        ["CREATE TABLE t (LIKE notes INCLUDING ALL);", "CREATE TABLE t (LIKE languages);"],
    ),
    "tenant-type": (
        [
            "^CREATE TYPE mood AS ENUM ('sad');",
            "^CREATE DOMAIN code AS text;",
            "DO $$ BEGIN ^CREATE TYPE mood AS ENUM ('sad'); "
            "EXCEPTION WHEN duplicate_object THEN NULL; END $$;",
        ],
        ["CREATE TABLE types (type text);"],
    ),
    "ownerless-sequence": (
        ["^CREATE SEQUENCE s OWNED BY NONE;"],
        ["CREATE SEQUENCE s OWNED BY notes.id;", "CREATE SEQUENCE s;"],
    ),
    "definer-path": (
        [f"^CREATE FUNCTION f() {COUNTS.format('SECURITY DEFINER')}"],
        [
            f"CREATE FUNCTION f() {COUNTS.format('SECURITY DEFINER SET search_path FROM CURRENT')}",
            f"CREATE FUNCTION f() {COUNTS.format('SECURITY DEFINER')}"
            "ALTER FUNCTION f() SET search_path FROM CURRENT;",
        ],
    ),
    "function-path": (
        [
            f"^CREATE FUNCTION f() {COUNTS.format('')}",
            f"^CREATE FUNCTION f() {BODY.format('INSERT INTO tags VALUES (1);')}",
        ],
        [
            f"CREATE FUNCTION f() {COUNTS.format('SET search_path FROM CURRENT')}",
            f"CREATE FUNCTION f() {BODY.format('NEW.at = now();')}",
            f"CREATE FUNCTION f() {BODY.format('NEW.b = extract(epoch FROM x);')}",
            "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql "
            "BEGIN ATOMIC SELECT count(*) FROM notes; END;",
        ],
    ),
    "unnamed-index": (
        [f"{UNTRANSACTED}^CREATE INDEX CONCURRENTLY ON notes (body);"],
        [f"{UNTRANSACTED}CREATE UNIQUE INDEX CONCURRENTLY i ON notes (body);"],
    ),
    "hidden-index": (
        [f"{UNTRANSACTED}^CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON notes (body);"],
        [f"{UNTRANSACTED}CREATE INDEX CONCURRENTLY i ON notes (body);"],
    ),
    "long-locks": (
        [
            "ALTER TABLE notes ALTER COLUMN id TYPE int; ^ALTER TABLE tags ALTER id TYPE int;",
            "ALTER TABLE notes ADD COLUMN k uuid DEFAULT gen_random_uuid(); ^CLUSTER notes;",
        ],
        [
            "ALTER TABLE notes ALTER COLUMN id TYPE int, ALTER COLUMN body TYPE varchar(10);",
            "ALTER TABLE notes ADD COLUMN a int; ALTER TABLE tags ADD COLUMN b int DEFAULT 1;",
            "CREATE TABLE a (x int); CREATE TABLE b (x int); "
            "ALTER TABLE a ALTER x TYPE bigint; ALTER TABLE b ALTER x TYPE bigint;",
            f"{UNTRANSACTED}ALTER TABLE notes ALTER id TYPE int; CLUSTER tags;",
        ],
    ),
    "backfill-with-ddl": (
        [
            "ALTER TABLE notes ADD COLUMN a int; ^UPDATE notes SET a = 1;",
            "ALTER TABLE notes ADD COLUMN a int; ^UPDATE notes SET a = 1 WHERE a IS NULL;",
            "CREATE INDEX i ON notes (body); ^DELETE FROM tags;",
        ],
        [
            "UPDATE notes SET body = '';",
            "ALTER TABLE notes ADD COLUMN a int; UPDATE notes SET a = 1 WHERE id = 5;",
            "ALTER TABLE tags ADD COLUMN a int; CREATE TABLE t (a int); UPDATE t SET a = 1;",
        ],
    ),
    "ignore": (
        [
            "^-- lint:ignore rights nothing is granted here\nSELECT 1;",
            "^-- lint:ignore rihgts a misspelt rule\nSELECT 1;",
            "^-- lint:ignore notification\nNOTIFY changed;",
            "^-- lint:ignore copy-from-stdin it does not load, whatever one says\nSELECT 1;",
        ],
        [
            "-- lint:ignore notification nobody listens\nNOTIFY changed;",
            "NOTIFY changed; -- lint:ignore notification: nobody listens\nSELECT 1;",
            "-- lint:ignore-file notification nobody listens\nSELECT 1;\nNOTIFY changed;",
        ],
    ),
}
UP = "async def up(context):\n    "
PYTHON: dict[str, tuple[list[str], list[str]]] = {
    "python-event-loop": (
        [f"import asyncio\n{UP}^asyncio.run(context.conn.execute('SELECT 1'))"],
        [f"{UP}await context.conn.execute('SELECT 1')"],
    ),
    "python-connection": (
        [f"from asyncpg import connect as c\n{UP}context, await ^c('')"],
        [f"{UP}await context.conn.execute('SELECT 1')"],
    ),
    "python-blocking": (
        [f"import time\n{UP}context, ^time.sleep(1)"],
        [f"import asyncio\n{UP}context, await asyncio.sleep(1)"],
    ),
    "python-context": (["^async def up(context):\n    pass"], [f"{UP}await context.conn.close()"]),
    "python-batches": (
        [f"{UP}async for _ in ^context.batches('notes'):\n        pass"],
        [
            "# migrate:up transaction:false\n"
            f"{UP}async for _ in context.batches('notes'):\n        pass"
        ],
    ),
    "other-schema": (
        [f"{UP}await context.conn.execute(^'DELETE FROM public.notes')"],
        [f"{UP}await context.conn.execute('DELETE FROM notes WHERE id = 1')"],
    ),
}


def _migration(text: str, stage: Stage = Stage.TENANT, kind: str = "sql") -> Migration:
    is_python = kind == "py"
    source = Source(f"{stage}/0002_it.{kind}", text, sql=not is_python)
    reading = partial(Reading, tenant=stage is Stage.TENANT)
    path = Path("0002_it.py") if is_python else None
    return Migration(
        stage, "0002", "it", "", "", Written(source, None, free=False, path=path, reading=reading)
    )


def _found(text: str, kind: str = "sql") -> list[tuple[str, int, int]]:
    one = _migration(text, kind=kind)
    files = Files((), (_migration(SHARED, Stage.SHARED),), (_migration(EARLIER), one))
    found = check.lint(files, [one], shared_schema="shared")
    return [(finding.rule, finding.line, finding.column) for finding in found]


def _cases(*, right: bool) -> list[tuple[str, str, str]]:
    return [
        (rule, text, kind)
        for kind, cases in (("sql", CASES), ("py", PYTHON))
        for rule, texts in cases.items()
        for text in texts[right]
    ]


def test_every_rule_has_a_failing_and_a_passing_fixture() -> None:
    cases = {**PYTHON, **CASES}
    assert cases.keys() == {rule.name for rule in RULES}
    assert all(bad and good for bad, good in cases.values())


@pytest.mark.parametrize(("rule", "text", "kind"), _cases(right=False))
def test_a_rule_finds_its_fault_at_its_place(rule: str, text: str, kind: str) -> None:
    before, mark, after = text.partition("^")
    assert mark
    column = len(before) - before.rfind("\n")
    assert (rule, before.count("\n") + 1, column) in _found(before + after, kind)
    assert [name for name, *_ in _found(before + after, kind)].count(rule) == 1


@pytest.mark.parametrize(("rule", "text", "kind"), _cases(right=True))
def test_a_rule_leaves_the_right_way_alone(rule: str, text: str, kind: str) -> None:
    assert rule not in [name for name, *_ in _found(text, kind)]
