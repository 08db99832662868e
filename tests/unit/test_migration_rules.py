"""What a file may hold: statement by statement, and as a whole."""

from pathlib import Path

import pytest

from tenancy.errors import MigrationFileError
from tenancy.migrate.files import folder as folders
from tenancy.migrate.files.model import Migration, Stage
from tenancy.migrate.files.reading import Reading


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def _one(
    folder: Path, text: str, stage: Stage = Stage.TENANT, name: str = "0001_a.sql", **how: object
) -> Migration:
    (folder / name).write_text(text)
    reading = Reading(tenant=stage is Stage.TENANT, **how)  # type: ignore[arg-type]
    (migration,) = folders.load(folder, stage, lambda: reading)
    migration.check()
    return migration


def _texts(migration: Migration) -> list[str]:
    return [statement.text for statement in migration.source.statements]


# One statement

_REFUSED = """
    BEGIN
    begin work
    COMMIT
    COMMIT AND CHAIN
    end
    ROLLBACK
    ROLLBACK TO SAVEPOINT a
    ABORT
    START TRANSACTION
    SAVEPOINT a
    RELEASE a
    PREPARE TRANSACTION 'a'
    COMMIT PREPARED 'a'
    SET TRANSACTION READ ONLY
    SET LOCAL TRANSACTION READ ONLY
    SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY
    /* a */ CoMmIt
    SET search_path TO a
    SET LOCAL search_path = a
    SET SESSION "search_path" = a
    SET "SEARCH_PATH" = a
    SET SCHEMA 'a'
    RESET search_path
    RESET ALL
    SET ROLE a
    SET LOCAL ROLE a
    SET role = a
    RESET ROLE
    SET SESSION AUTHORIZATION a
    SET LOCAL SESSION AUTHORIZATION a
    SET session_authorization = a
    RESET SESSION AUTHORIZATION
    SET tenancy.scope = a
    DISCARD ALL
    DISCARD TEMP
    COPY t FROM STDIN
    COPY public.t (a, b) FROM stdin WITH (FORMAT csv)
    COPY t FROM stdin; 1 'odd
    REINDEX DATABASE a
    REINDEX (VERBOSE) SCHEMA a
    VACUUM
    CLUSTER
    CREATE DATABASE a
    DROP DATABASE a
    CREATE TABLESPACE a LOCATION 'b'
    ALTER SYSTEM SET a = 1
    ALTER DATABASE a SET TABLESPACE b
    \\i other.sql
    SELECT 1 \\gset
    SELECT 'odd
    SELECT $a$ odd $b$
    /* odd
    CREATE EXTENSION hstore
    create extension if not exists hstore
    DROP EXTENSION hstore
"""


@pytest.mark.parametrize("statement", [line.strip() for line in _REFUSED.strip().splitlines()])
def test_what_no_migration_may_hold_is_refused_at_its_place(folder: Path, statement: str) -> None:
    with pytest.raises(MigrationFileError, match=r"tenant/0001_a\.sql:2:\d+: "):
        _one(folder, f"SELECT 1;\n{statement};\nSELECT 2")


_ALLOWED = """
    SELECT 'COMMIT; VACUUM'
    DO $$ BEGIN PERFORM 1; END $$
    CREATE FUNCTION f() RETURNS int LANGUAGE sql SET search_path = a BEGIN ATOMIC SELECT 1; END
    CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'
    ALTER FUNCTION f() SET search_path = a
    ALTER ROLE a SET search_path = a
    CREATE INDEX i ON t (a)
    CREATE INDEX ON "CONCURRENTLY" (a)
    REFRESH MATERIALIZED VIEW CONCURRENTLY m
    REINDEX TABLE t
    CLUSTER t USING i
    COPY t TO STDOUT
    SET LOCAL work_mem = '1GB'
    SET CONSTRAINTS ALL DEFERRED
    SELECT set_config('session.user', 'a', true)
    SET TIME ZONE 'UTC'
    PREPARE p AS SELECT 1
    CREATE TABLE "commit" ("end" int)
    ALTER TABLE t DETACH PARTITION p
    ALTER TYPE a ADD VALUE 'b'
    ALTER DATABASE a SET work_mem = '1GB'
    LOCK TABLE t
"""


@pytest.mark.parametrize("statement", [line.strip() for line in _ALLOWED.strip().splitlines()])
def test_what_only_looks_like_it_is_read(folder: Path, statement: str) -> None:
    assert len(_one(folder, f"SELECT 1;\n{statement};\nSELECT 2").source.statements) == 3


def test_the_first_fault_is_the_one_told(folder: Path) -> None:
    with pytest.raises(MigrationFileError, match=r"0001_a\.sql:1:1: COPY T FROM: "):
        _one(folder, "COPY t FROM stdin;\n1\tit's\n\\.\nCOMMIT;")


# Transactions


_CONCURRENT = [
    "CREATE INDEX CONCURRENTLY i ON t (a)",
    "CREATE UNIQUE INDEX CONCURRENTLY ON t (a)",
    "DROP INDEX CONCURRENTLY i",
    "REINDEX TABLE CONCURRENTLY t",
    "REINDEX (VERBOSE, CONCURRENTLY) INDEX i",
    "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
    "VACUUM (ANALYZE) t",
]


@pytest.mark.parametrize("statement", _CONCURRENT)
def test_what_cannot_be_in_a_transaction_runs_without_one(folder: Path, statement: str) -> None:
    asked = _one(folder, f"-- migrate:up transaction:false\nSELECT 1;\n{statement};")
    alone = _one(folder, f"-- about\n{statement};\n{statement}")
    assert [asked.directives.transactional, alone.directives.transactional] == [False, False]
    assert _texts(asked) == ["SELECT 1", statement]
    assert _texts(alone) == [statement, statement]
    (folder / "0001_a.sql").unlink()
    free = _one(folder, f"SELECT 1;\n{statement}", name="0001_a.up.sql")
    assert not free.directives.transactional
    assert _texts(free) == ["SELECT 1", statement]


@pytest.mark.parametrize("statement", _CONCURRENT)
def test_it_is_refused_beside_what_can_with_the_words_to_write(
    folder: Path, statement: str
) -> None:
    for above, below, words in (
        ("", "", "begin with `-- migrate:up transaction:false`"),
        ("-- +goose Up\n", "", r"begin with `-- \+goose NO TRANSACTION`"),
        ("", ";\n---- create above / drop below ----", "begin with `---- tern: disable-tx ----`"),
    ):
        text = f"{above}SELECT 1;\n{statement}{below}"
        with pytest.raises(MigrationFileError, match=words):
            _one(folder, text)


def test_it_is_refused_where_a_transaction_is_asked_for(folder: Path) -> None:
    with pytest.raises(MigrationFileError, match=r"2:1: .* CONCURRENTLY: cannot .* as it is to"):
        _one(folder, "-- migrate:up transaction:true\nCREATE INDEX CONCURRENTLY i ON t (a)")


@pytest.mark.parametrize(
    ("begin", "commit"),
    [
        ("BEGIN", "COMMIT"),
        ("begin work", "commit work"),
        ("BEGIN TRANSACTION", "END"),
        ("START TRANSACTION", "END TRANSACTION"),
        ("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", "COMMIT AND NO CHAIN"),
    ],
)
@pytest.mark.parametrize("name", ["0001_a.sql", "0001_a.up.sql"])
def test_one_transaction_around_all_of_a_file_is_what_it_gets(
    folder: Path, name: str, begin: str, commit: str
) -> None:
    text = f"-- about\n{begin};\nSELECT 1;\n  SELECT 2;\n{commit};\n-- end\n"
    migration = _one(folder, text, name=name)
    assert migration.directives.transactional
    assert _texts(migration) == ["SELECT 1", "SELECT 2"]
    assert [text[one.start :][:8] for one in migration.source.statements] == _texts(migration)


@pytest.mark.parametrize(
    "text",
    [
        "BEGIN; SELECT 1; COMMIT; SELECT 2",
        "SELECT 1; BEGIN; SELECT 2; COMMIT",
        "BEGIN; SELECT 1; COMMIT; BEGIN; SELECT 2; COMMIT",
    ],
)
def test_a_transaction_for_a_part_of_a_file_is_a_step_of_one_without(
    folder: Path, text: str
) -> None:
    with pytest.raises(MigrationFileError, match="begin with `-- migrate:up transaction:false`"):
        _one(folder, text)
    asked = _one(folder, f"-- migrate:up transaction:false\n{text}")
    (folder / "0001_a.sql").unlink()
    free = _one(folder, text, name="0001_a.up.sql")  # whose tool begins none itself
    for migration in (asked, free):
        assert not migration.directives.transactional
        assert _texts(migration) == ["SELECT 1", "SELECT 2"]


def test_a_block_is_one_statement_whose_words_are_no_statements(folder: Path) -> None:
    text = (
        "-- migrate:up transaction:false\nSELECT 1;\nBEGIN;\nINSERT INTO t VALUES (1);\n"
        "DELETE FROM t;\nCOMMIT;\nBEGIN; END;\nVACUUM t"
    )
    first, block, last = _one(folder, text).source.statements
    assert block.text == "INSERT INTO t VALUES (1);\nDELETE FROM t"
    assert text[block.start :].startswith(block.text)
    assert (first.words, block.words[:18], last.words) == (
        "SELECT",
        "BEGIN INSERT INTO ",
        "VACUUM T",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("BEGIN; SELECT 1", "1:1: BEGIN: the migrator begins"),
        ("SELECT 1; COMMIT", "1:11: COMMIT: the migrator begins"),
        ("COMMIT; SELECT 1; BEGIN", "1:1: COMMIT"),
        ("BEGIN; BEGIN; COMMIT; COMMIT", "1:1: BEGIN"),
        ("BEGIN; SAVEPOINT a; COMMIT", "1:8: SAVEPOINT"),
        ("BEGIN; SELECT 1; ROLLBACK", "1:1: BEGIN"),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT 1; COMMIT", "1:1: BEGIN"),
        ("BEGIN READ ONLY; SELECT 1; COMMIT", "1:1: BEGIN"),
        ("BEGIN; VACUUM t; COMMIT", "1:8: VACUUM T: cannot run inside .* take it out"),
    ],
)
def test_transaction_control_that_is_not_that_is_refused(
    folder: Path, text: str, words: str
) -> None:
    for above in ("", "-- migrate:up transaction:false "):
        with pytest.raises(MigrationFileError, match=words if not above else "0001_a"):
            _one(folder, f"{above}\n{text}" if above else text)


# The tenant's own schema


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE SCHEMA a",
        "CREATE SCHEMA IF NOT EXISTS public",
        "DROP SCHEMA public CASCADE",
        "ALTER SCHEMA public RENAME TO a",
        "COMMENT ON SCHEMA public IS 'a'",
        "SELECT set_config('search_path', 'a', false)",
        "SELECT pg_catalog.set_config('search_path', 'public', false)",
        "SELECT set_config('role', 'a', false)",
        "SET standard_conforming_strings = off",
        "CREATE EXTENSION hstore",
        "CREATE TABLE public.t (a int)",
        'CREATE TABLE IF NOT EXISTS "public" . "t" (a int)',
        "CREATE UNLOGGED TABLE other.t (a int)",
        "CREATE OR REPLACE VIEW public.v AS SELECT 1",
        "CREATE MATERIALIZED VIEW public.v AS SELECT 1",
        "CREATE TYPE public.e AS ENUM ('a')",
        "CREATE SEQUENCE public.s",
        "CREATE OR REPLACE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE INDEX i ON public.t (a)",
        "CREATE UNIQUE INDEX IF NOT EXISTS i ON ONLY public.t (a)",
        "CREATE TRIGGER x BEFORE UPDATE ON public.t FOR EACH ROW EXECUTE FUNCTION f()",
        "CREATE POLICY p ON public.t USING (true)",
        "CREATE TABLE t (a int REFERENCES public.u (id))",
        "ALTER TABLE public.t ADD COLUMN a int",
        "ALTER TABLE IF EXISTS ONLY public.t ADD COLUMN a int",
        "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES public.u",
        "ALTER TABLE t SET SCHEMA a",
        "ALTER TYPE public.e ADD VALUE 'b'",
        "DROP TABLE IF EXISTS public.t",
        "DROP INDEX public.i",
        "DROP TABLE t, public.u",
        "COMMENT ON TABLE public.t IS 'a'",
        "GRANT SELECT, INSERT ON public.t TO a",
        "GRANT EXECUTE ON FUNCTION public.f() TO a",
        "TRUNCATE public.t",
        "TRUNCATE TABLE public.t",
        "INSERT INTO public.t VALUES (1)",
        "UPDATE public.t SET a = 1",
        "UPDATE ONLY public.t SET a = 1",
        "DELETE FROM public.t",
        "SELECT * FROM public.t",
        "INSERT INTO t SELECT a.b FROM a JOIN public.t USING (id)",
        "WITH x AS (SELECT 1 FROM public.t) SELECT 1",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO a",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO a",
        "GRANT USAGE ON SCHEMA public TO a",
        "DO $$ BEGIN INSERT INTO public.t VALUES (1); END $$",
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN DELETE FROM public.t; END $$",
        "CREATE FUNCTION f() RETURNS int AS $$ UPDATE public.t SET a = 1 $$ LANGUAGE 'sql'",
    ],
)
def test_what_leaves_the_tenant_is_refused_in_its_files_alone(folder: Path, statement: str) -> None:
    with pytest.raises(MigrationFileError, match=r"tenant/0001_a\.sql:2:\d+: "):
        _one(folder, f"SELECT 1;\n{statement};\nSELECT 2")
    if "set_config" not in statement and "standard" not in statement:
        assert _one(folder, statement, Stage.SHARED).source.statements


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT public.a, excluded.b, new.c FROM t AS public",
        "UPDATE t SET a = x.b FROM x WHERE x.c = t.c",
        "SELECT extract(epoch FROM t.a), trim(both ' ' FROM t.b), substring(t.c FROM t.d) FROM t",
        "SELECT a IS DISTINCT FROM t.b FROM t",
        "SELECT a IS NOT DISTINCT FROM t.b FROM t",
        "SELECT overlay(a.b PLACING 'x' FROM a.c) FROM a",
        "INSERT INTO t (a) SELECT x.a FROM x ON CONFLICT (a) DO UPDATE SET a = excluded.a",
        "SELECT * FROM shared.languages",
        "SELECT * FROM pg_catalog.pg_class JOIN information_schema.tables ON true",
        "CREATE TABLE pg_temp.t (a int)",
        "SELECT '1 FROM public.t'",
        "INSERT INTO t VALUES ($$DELETE FROM public.t$$)",
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpython3u AS $$ from a.b import c $$",
        "CREATE TRIGGER x BEFORE UPDATE OF a ON t FOR EACH ROW WHEN (OLD.a <> NEW.a) "
        "EXECUTE FUNCTION f()",
        "DO $$ DECLARE r record; BEGIN SELECT 1 INTO r.a; IF r.a THEN NULL; END IF; END $$",
        "ALTER TABLE t ALTER COLUMN a TYPE x.y",
        "CREATE TABLE t (type x.y)",
        "GRANT SELECT ON t TO a",
        "SELECT x.y FROM t JOIN LATERAL (SELECT t.a) AS x ON x.b = t.c",
        "CREATE INDEX i ON t ((t.a))",
        "ALTER TABLE t OWNER TO a",
    ],
)
def test_names_that_may_be_the_tenants_are_left_alone(folder: Path, statement: str) -> None:
    assert _texts(_one(folder, statement)) == [statement]


def test_the_refusal_of_a_name_says_what_to_do(folder: Path) -> None:
    with pytest.raises(MigrationFileError) as refused:
        _one(folder, "ALTER TABLE t ADD a int;\nALTER TABLE\n  public.t ADD b int")
    assert str(refused.value) == (
        "tenant/0001_a.sql:3:3: the schema 'public' is outside of the tenant's: write the name "
        "without it, or set TENANCY_SQL_WRITTEN_FOR=public if public means the tenant's own in "
        "all files"
    )


# Extensions


def test_an_extension_is_made_in_the_shared_stage(folder: Path) -> None:
    assert _one(folder, "CREATE EXTENSION hstore", Stage.SHARED).source.statements
    with pytest.raises(MigrationFileError, match=r'`CREATE EXTENSION IF NOT EXISTS "uuid-ossp";`'):
        _one(folder, 'CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA public')


@pytest.mark.parametrize(
    "statement",
    [
        'CREATE EXTENSION "uuid-ossp"',
        'create extension if not exists "uuid-ossp" WITH SCHEMA public',
        "CREATE EXTENSION IF NOT EXISTS Citext",
        "COMMENT ON EXTENSION citext IS 'a'",
        "DROP EXTENSION IF EXISTS citext",
        "CREATE EXTENSION IF NOT EXISTS plpgsql WITH SCHEMA pg_catalog",
    ],
)
def test_what_the_shared_stage_has_made_is_left_out(folder: Path, statement: str) -> None:
    known = frozenset({"uuid-ossp", "citext"})
    migration = _one(folder, f"{statement};\nSELECT 1", extensions=known)
    assert _texts(migration) == ["SELECT 1"]
    assert migration.source.place(migration.source.statements[0].start) == "tenant/0001_a.sql:2:1"


# What pg_dump writes

HEADER = """--
-- PostgreSQL database dump
--

\\restrict dR7GfLlTKReDCUcPzdQhb0eFUx20KmtcsZKGfICVm0qhBYIxb0fMxLNwV7PKxTX

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
"""
FOOTER = """
\\unrestrict dR7GfLlTKReDCUcPzdQhb0eFUx20KmtcsZKGfICVm0qhBYIxb0fMxLNwV7PKxTX
"""


def test_the_head_of_a_dump_sets_neither_path_nor_limits(folder: Path) -> None:
    migration = _one(folder, f"{HEADER}SELECT 1;\n{FOOTER}")
    assert _texts(migration) == [
        "SET client_encoding = 'UTF8'",
        "SET standard_conforming_strings = on",
        "SET check_function_bodies = false",
        "SET xmloption = content",
        "SET client_min_messages = warning",
        "SET row_security = off",
        "SELECT 1",
    ]


def test_a_limit_outside_of_a_dump_is_somebodys_wish(folder: Path) -> None:
    assert len(_texts(_one(folder, "SET statement_timeout = 0;\nSET lock_timeout TO '0'"))) == 2


# Files written for one schema


def _moved(folder: Path, text: str) -> list[str]:
    migration = _one(folder, text, own="public")
    assert len(migration.source.text) == len(text)
    return [" ".join(one.split()) for one in _texts(migration)]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("CREATE TABLE public.t (a public.e)", "CREATE TABLE t (a e)"),
        ('CREATE TABLE "public" . "T" (a int)', 'CREATE TABLE "T" (a int)'),
        ("SELECT Public.f(1)", "SELECT f(1)"),
        ("SELECT a.public.b", "SELECT a.public.b"),
        ("SELECT t.public FROM t", "SELECT t.public FROM t"),
        ("INSERT INTO public.t VALUES ('public.t')", "INSERT INTO t VALUES ('public.t')"),
        (
            "ALTER TABLE public.t ALTER a SET DEFAULT nextval('public.s'::regclass)",
            "ALTER TABLE t ALTER a SET DEFAULT nextval(' s'::regclass)",
        ),
        ("SELECT 'public.t'::regclass", "SELECT ' t'::regclass"),
        ("SELECT 'public.t'::pg_catalog.regclass", "SELECT ' t'::pg_catalog.regclass"),
        ("SELECT CAST('public.t' AS regclass)", "SELECT CAST(' t' AS regclass)"),
        ("SELECT regclass 'public.t'", "SELECT regclass ' t'"),
        ("SELECT setval('\"public\".s', 1)", "SELECT setval(' s', 1)"),
        ("SELECT 'public.t'::text", "SELECT 'public.t'::text"),
        (
            "DO $$ BEGIN UPDATE public.t SET a = 'public.b'; END $$",
            "DO $$ BEGIN UPDATE t SET a = 'public.b'; END $$",
        ),
        (
            "DO $$ BEGIN EXECUTE 'DROP TABLE public.t'; EXECUTE format('DROP TABLE public.%I', a);"
            " EXECUTE $q$DROP TABLE public.u$q$; END $$",
            "DO $$ BEGIN EXECUTE 'DROP TABLE t'; EXECUTE format('DROP TABLE %I', a);"
            " EXECUTE $q$DROP TABLE u$q$; END $$",
        ),
        (
            "CREATE FUNCTION public.f() RETURNS public.e LANGUAGE sql SET search_path = public, "
            "pg_temp AS 'SELECT a FROM public.t'",
            "CREATE FUNCTION f() RETURNS e LANGUAGE sql AS 'SELECT a FROM t'",
        ),
        (
            "CREATE FUNCTION f() RETURNS int SET search_path TO '' AS $$SELECT public.g()$$ "
            "LANGUAGE sql",
            "CREATE FUNCTION f() RETURNS int AS $$SELECT g()$$ LANGUAGE sql",
        ),
        (
            "CREATE FUNCTION f() RETURNS int AS $$import public.x$$ LANGUAGE plpython3u",
            "CREATE FUNCTION f() RETURNS int AS $$import public.x$$ LANGUAGE plpython3u",
        ),
        ("ALTER FUNCTION f() SET search_path = a", "ALTER FUNCTION f() SET search_path = a"),
    ],
)
def test_a_name_written_with_the_schema_becomes_the_tenants(
    folder: Path, statement: str, expected: str
) -> None:
    assert _moved(folder, statement) == [expected]


@pytest.mark.parametrize(
    "statement",
    [
        "SET search_path = public",
        "SET LOCAL search_path TO 'public', pg_catalog",
        'set session search_path to "public"',
        "SELECT pg_catalog.set_config('search_path', 'public', false)",
        "CREATE SCHEMA public",
        "CREATE SCHEMA IF NOT EXISTS public AUTHORIZATION postgres",
        "ALTER SCHEMA public OWNER TO pg_database_owner",
        "COMMENT ON SCHEMA public IS 'standard public schema'",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        "GRANT ALL ON SCHEMA public TO postgres",
        "ALTER FUNCTION public.f() SET search_path = ''",
    ],
)
def test_what_is_said_of_that_schema_is_left_out(folder: Path, statement: str) -> None:
    assert _moved(folder, f"{statement};\nSELECT 1") == ["SELECT 1"]
    if "set_config" not in statement:
        (folder / "0001_a.sql").write_text(statement)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SET search_path = public, other", "SET SEARCH_PATH"),
        ("CREATE SCHEMA other", "CREATE SCHEMA"),
        ("DROP SCHEMA public CASCADE", "DROP SCHEMA"),
        ("CREATE TABLE other.t (a int)", "schema 'other' is outside of the tenant's: write the"),
        ("GRANT SELECT ON ALL TABLES IN SCHEMA public TO a", "schema 'public' is outside"),
    ],
)
def test_what_is_said_of_another_schema_is_still_refused(
    folder: Path, statement: str, words: str
) -> None:
    with pytest.raises(MigrationFileError, match=words):
        _moved(folder, statement)


def test_the_checksum_is_that_of_the_text_whatever_it_is_written_for(folder: Path) -> None:
    text = "CREATE TABLE public.t (a int)"
    assert _one(folder, text, own="public").checksum == _one(folder, text, Stage.SHARED).checksum


# Placeholders


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SELECT 1;\nCREATE TABLE {{ .Schema }}.t ()", "2:14: nothing is filled in"),
        ("SELECT ${NAME}", "1:8: nothing is filled in"),
        ("SELECT {name}", "1:8: nothing is filled in"),
    ],
)
def test_a_placeholder_is_refused(folder: Path, text: str, words: str) -> None:
    with pytest.raises(MigrationFileError, match=words):
        _one(folder, text)


def test_braces_in_strings_and_comments_are_text(folder: Path) -> None:
    text = "SELECT '{{.Name}}', '{1,2}'::int[], $${}$$ -- {{ a }}\n/* ${B} */"
    assert len(_texts(_one(folder, text))) == 1
