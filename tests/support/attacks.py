"""What SQL injected into a view's own query tries, and at which levels it gets what it wants.

``python tests/support/papers.py`` writes the table into SECURITY.md;
tests/isolation/test_injection.py makes each attack and holds each cell, in both directions.
"""

from typing import NamedTuple

LEVELS = ("schema", "role", "strict")

# How the attacker's text gets in: into a constant, a number or an ORDER BY of the view's own query,
# or as the whole text of a call of asyncpg's.
WAYS = {
    "where": "into a constant, fetch",
    "number": "in place of a number, fetch",
    "order": "into ORDER BY, fetch",
    "set": "into a constant, execute",
    "many": "into a constant, executemany",
    "copy": "into a constant, copy_from_query",
    "execute": "whole text, execute",
    "fetch": "whole text, fetch",
    "prepare": "whole text, prepare",
    "cursor": "whole text, cursor",
    "copied": "whole text, copy_from_query",
}

# What it wants. The test looks for all of these after each attack.
READS = "reads"  # sees a row or a statement of another tenant
WRITES = "writes"  # changes rows or sequences that are not its own
CHANGES = "changes"  # the rest of the request runs with another path, role or setting
MAKES = "makes"  # an object, right or setting stays in the database
DISTURBS = "disturbs"  # another session is ended, told something or made to wait
STAYS = "stays"  # the next tenant on the connection meets it
RUNS = "runs"  # the call succeeds, which is all there is to see
NAMES = "names"  # sees another schema's name: not promised at any level


class Attack(NamedTuple):
    """One line of the table; {other}, {own}, {login} and {me} in *text* are put in by the test."""

    name: str
    way: str
    text: str
    wants: str
    succeeds_at: tuple[str, ...]


EVERYWHERE = LEVELS
BELOW_STRICT = ("schema", "role")
AT_SCHEMA = ("schema",)
AT_ROLE = ("role",)  # at `schema` there is no role to leave
NOWHERE = ()

_PATH = "SET LOCAL search_path = {other}"
_SET_PATH = "set_config('search_path', '{other}', true)"
_OTHERS = "FROM pg_stat_activity WHERE usename = '{login}' AND pid <> pg_backend_pid()"

ATTACKS = tuple(
    Attack(*line)
    for line in (
        # Names of another schema
        ("UNION with another tenant's table", "where",
         "' UNION SELECT id, body FROM {other}.notes --", READS, AT_SCHEMA),
        ("a scalar subquery on another tenant's table", "set",
         "' || (SELECT body FROM {other}.notes LIMIT 1) || '", READS, AT_SCHEMA),
        ("TABLE of another tenant", "fetch", "TABLE {other}.notes", READS, AT_SCHEMA),
        ("another tenant's table through a cursor", "cursor",
         "SELECT body FROM {other}.notes", READS, AT_SCHEMA),
        ("another tenant's table through COPY", "copied",
         "SELECT body FROM {other}.notes", READS, AT_SCHEMA),
        ("INSERT into another tenant's table", "execute",
         "INSERT INTO {other}.notes (body) VALUES ('planted')", WRITES, AT_SCHEMA),
        ("DELETE in a WITH query", "fetch",
         "WITH gone AS (DELETE FROM {other}.notes RETURNING body) SELECT body FROM gone",
         WRITES, AT_SCHEMA),
        ("MERGE into another tenant's table", "execute",
         "MERGE INTO {other}.notes n USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE",
         WRITES, AT_SCHEMA),
        ("EXPLAIN ANALYZE of a DELETE", "execute",
         "EXPLAIN ANALYZE DELETE FROM {other}.notes", WRITES, AT_SCHEMA),
        ("TRUNCATE of another tenant's table", "execute", "TRUNCATE {other}.notes", WRITES,
         NOWHERE),
        ("nextval() of another tenant's sequence", "number",
         "1 AND nextval('{other}.notes_id_seq') > 0", WRITES, AT_SCHEMA),
        ("setval() of another tenant's sequence", "number",
         "1 AND setval('{other}.notes_id_seq', 1000) > 0", WRITES, NOWHERE),
        ("the registry's list of tenants", "where",
         "' UNION SELECT 1, schema_name FROM tenancy.tenants --", NAMES, AT_SCHEMA),
        ("UPDATE of the registry", "execute",
         "UPDATE tenancy.tenants SET state = 'suspended'", WRITES, NOWHERE),
        ("DELETE of shared data", "execute", "DELETE FROM shared.languages", WRITES, NOWHERE),
        # Stacked statements
        ("stacked behind a fetched query", "where", "'; " + _PATH + "; --", CHANGES, NOWHERE),
        ("stacked SET LOCAL search_path", "set", "'; " + _PATH + "; --", CHANGES, BELOW_STRICT),
        ("stacked SET LOCAL ROLE and path", "set",
         "'; SET LOCAL ROLE {other}; " + _PATH + "; --", READS, BELOW_STRICT),
        ("stacked SET ROLE and path, for the session", "set",
         "'; SET ROLE {other}; SET search_path = {other}; --", READS, BELOW_STRICT),
        ("stacked writing as another tenant, and back", "set",
         "'; SET LOCAL ROLE {other}; INSERT INTO {other}.notes (body) VALUES ('planted'); "
         "SET LOCAL ROLE {me}; --", WRITES, BELOW_STRICT),
        ("stacked RESET ROLE", "set", "'; RESET ROLE; --", CHANGES, AT_ROLE),
        ("stacked RESET SESSION AUTHORIZATION", "set", "'; RESET SESSION AUTHORIZATION; --",
         CHANGES, AT_ROLE),
        ("stacked SET SESSION AUTHORIZATION", "set",
         "'; SET SESSION AUTHORIZATION {other}; --", CHANGES, NOWHERE),
        ("stacked COMMIT, then another tenant", "set",
         "'; COMMIT; SET ROLE {other}; SET search_path = {other}; BEGIN; --", READS, BELOW_STRICT),
        ("stacked ROLLBACK", "set", "'; ROLLBACK; --", CHANGES, BELOW_STRICT),
        ("stacked SET of a setting", "set", "'; SET work_mem = '64kB'; --", CHANGES, BELOW_STRICT),
        ("stacked SET SESSION CHARACTERISTICS", "set",
         "'; SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY; --", CHANGES, BELOW_STRICT),
        ("a forged marker of the gate", "set", "'; SET LOCAL tenancy.scope = 'forged'; --",
         CHANGES, BELOW_STRICT),
        ("stacked behind COPY", "copy", "') TO STDOUT; " + _PATH + "; --", CHANGES, BELOW_STRICT),
        ("stacked in executemany", "many", "'; " + _PATH + "; --", CHANGES, NOWHERE),
        # Other statements as the whole text
        ("SET as a prepared statement", "prepare", _PATH, CHANGES, BELOW_STRICT),
        ("SET behind nested comments", "execute", "/* /* */ SELECT */ " + _PATH, CHANGES,
         BELOW_STRICT),
        ("SET behind a comment that a carriage return ends", "execute",
         "--\r" + _PATH + " /*\nSELECT */", CHANGES, BELOW_STRICT),
        ("a DO block", "fetch",
         "DO $x$ BEGIN PERFORM " + _SET_PATH + "; END $x$", CHANGES, BELOW_STRICT),
        ("EXPLAIN ANALYZE of set_config()", "fetch", "EXPLAIN ANALYZE SELECT " + _SET_PATH,
         CHANGES, BELOW_STRICT),
        ("CALL of a procedure of yours that runs its text", "execute",
         "CALL {own}.call_text('" + _PATH + "')", CHANGES, BELOW_STRICT),
        ("LOCK TABLE, so that others wait", "execute",
         "LOCK TABLE notes IN ACCESS EXCLUSIVE MODE", DISTURBS, BELOW_STRICT),
        ("NOTIFY", "set", "'; NOTIFY planted; --", DISTURBS, BELOW_STRICT),
        ("LISTEN", "execute", "LISTEN planted", STAYS, NOWHERE),
        ("COPY TO PROGRAM", "execute", "COPY notes TO PROGRAM 'cat'", RUNS, NOWHERE),
        ("COPY FROM PROGRAM", "set", "'; COPY notes FROM PROGRAM 'true'; --", RUNS, NOWHERE),
        ("COPY FROM a file of the server", "execute", "COPY notes FROM '/etc/passwd'", RUNS,
         NOWHERE),
        # set_config() and what comes to the same
        ("set_config() in a UNION: role and path", "number",
         "-1 UNION SELECT 1, set_config('role', '{other}', true) || " + _SET_PATH, READS,
         BELOW_STRICT),
        ("set_config() in WHERE", "number", "1 AND " + _SET_PATH + " IS NOT NULL", CHANGES,
         BELOW_STRICT),
        ("set_config() in a WITH query", "fetch",
         "WITH x AS MATERIALIZED (SELECT " + _SET_PATH + " AS p) SELECT p FROM x", CHANGES,
         BELOW_STRICT),
        ("set_config() in ORDER BY", "order", "(SELECT " + _SET_PATH + ")", CHANGES, BELOW_STRICT),
        ("set_config() in executemany", "many", "' || " + _SET_PATH + " || '", CHANGES,
         BELOW_STRICT),
        ("set_config() through a cursor", "cursor", "SELECT " + _SET_PATH, CHANGES, BELOW_STRICT),
        ("set_config() in a unicode escape", "fetch",
         'SELECT U&"set\\005fconfig"(\'search_path\', \'{other}\', true)', CHANGES, BELOW_STRICT),
        ("set_config() with dollar quotes", "number",
         "1 AND pg_catalog.set_config($a$search_path$a$, $b${other}$b$, true) IS NOT NULL",
         CHANGES, BELOW_STRICT),
        ("UPDATE of the view pg_settings", "execute",
         "UPDATE pg_settings SET setting = '{other}' WHERE name = 'search_path'", CHANGES,
         BELOW_STRICT),
        # Functions that run a text
        ("another role, a query in ts_stat(), and back, in one SELECT", "fetch",
         "SELECT set_config('role', '{other}', true), (SELECT string_agg(word, ' ') FROM "
         "ts_stat('SELECT to_tsvector(body) FROM {other}.notes')), "
         "set_config('role', '{me}', true)", READS, BELOW_STRICT),
        ("query_to_xml() of another tenant's table", "where",
         "' UNION SELECT 1, query_to_xml('SELECT * FROM {other}.notes', true, false, '')::text --",
         READS, AT_SCHEMA),
        ("table_to_xml()", "fetch", "SELECT table_to_xml('{other}.notes', true, false, '')",
         READS, AT_SCHEMA),
        ("schema_to_xml()", "fetch", "SELECT schema_to_xml('{other}', true, false, '')",
         READS, AT_SCHEMA),
        ("cursor_to_xml() of a stacked cursor", "set",
         "'; DECLARE c CURSOR FOR SELECT body FROM {other}.notes; "
         "UPDATE notes SET body = cursor_to_xml('c', 9, false, false, '')::text; --",
         READS, AT_SCHEMA),
        ("ts_stat() of another tenant's table", "where",
         "' UNION SELECT 1, word FROM ts_stat('SELECT to_tsvector(body) FROM {other}.notes') --",
         READS, AT_SCHEMA),
        ("ts_stat() of set_config()", "fetch",
         "SELECT word FROM ts_stat($x$SELECT to_tsvector(" + _SET_PATH + ")$x$)", CHANGES,
         BELOW_STRICT),
        ("ts_rewrite() of set_config()", "fetch",
         "SELECT ts_rewrite('a & b', $x$SELECT 'a'::tsquery, to_tsquery(" + _SET_PATH + ")$x$)",
         CHANGES, BELOW_STRICT),
        ("a function of yours that runs its text", "fetch",
         "SELECT {own}.run_text($x$" + _PATH + "$x$)", CHANGES, EVERYWHERE),
        # What a session remembers, and what others do
        ("texts of earlier requests in pg_prepared_statements", "where",
         "' UNION SELECT 1, statement FROM pg_prepared_statements --", READS, BELOW_STRICT),
        ("another text under asyncpg's statement name", "execute",
         "DO $x$ DECLARE n text; BEGIN SELECT name INTO n FROM pg_prepared_statements WHERE "
         "statement LIKE '%FROM notes ORDER BY id'; EXECUTE format('DEALLOCATE %I', n); EXECUTE "
         "format('PREPARE %I AS SELECT ''planted''::text AS body', n); END $x$", STAYS, NOWHERE),
        ("DEALLOCATE ALL", "execute", "DEALLOCATE ALL", STAYS, NOWHERE),
        ("a temporary table over a tenant's", "execute",
         "CREATE TEMP TABLE notes (id int, body text)", STAYS, NOWHERE),
        ("SELECT INTO TEMP", "fetch", "SELECT 1 AS id, 'x' AS body INTO TEMP notes", STAYS,
         NOWHERE),
        ("a cursor WITH HOLD", "execute", "DECLARE held CURSOR WITH HOLD FOR SELECT 1", STAYS,
         NOWHERE),
        ("other sessions' statements in pg_stat_activity", "where",
         "' UNION SELECT pid, query " + _OTHERS + " --", READS, AT_SCHEMA),
        ("the same, as the login itself", "fetch",
         "SELECT set_config('role', 'none', true), (SELECT string_agg(query, ' ') " + _OTHERS + ")",
         READS, BELOW_STRICT),
        ("pg_terminate_backend() of other sessions", "number",
         "1 AND (SELECT bool_or(pg_terminate_backend(pid)) " + _OTHERS + ")", DISTURBS,
         AT_SCHEMA),
        ("the same, as the login itself", "fetch",
         "SELECT set_config('role', 'none', true), "
         "(SELECT bool_or(pg_terminate_backend(pid)) " + _OTHERS + ")", DISTURBS, BELOW_STRICT),
        ("an advisory lock that others wait for", "number", "1 AND pg_try_advisory_lock(42)",
         DISTURBS, BELOW_STRICT),
        ("the same, to the transaction's end", "number",
         "1 AND pg_advisory_xact_lock(42) IS NOT NULL", DISTURBS, BELOW_STRICT),
        ("pg_notify()", "number", "1 AND pg_notify('planted', '') IS NOT NULL", DISTURBS,
         BELOW_STRICT),
        ("pg_sleep()", "number", "1 AND pg_sleep(0.01) IS NOT NULL", RUNS, BELOW_STRICT),
        ("pg_logical_emit_message()", "number",
         "1 AND pg_logical_emit_message(false, 'planted', 'x') IS NOT NULL", RUNS, BELOW_STRICT),
        ("pg_export_snapshot()", "fetch", "SELECT pg_export_snapshot()", RUNS, BELOW_STRICT),
        # Things planted in the database
        ("a large object", "number", "1 AND lo_from_bytea(0, 'x') > 0", MAKES, BELOW_STRICT),
        ("a table in the tenant's own schema", "execute", "CREATE TABLE planted (id int)", MAKES,
         NOWHERE),
        ("SELECT INTO a table of schema public", "fetch", "SELECT 1 AS id INTO public.planted",
         MAKES, NOWHERE),
        ("a trigger", "execute",
         "CREATE TRIGGER planted BEFORE INSERT ON notes "
         "EXECUTE FUNCTION suppress_redundant_updates_trigger()", MAKES, NOWHERE),
        ("a rule", "execute", "CREATE RULE planted AS ON INSERT TO notes DO INSTEAD NOTHING",
         MAKES, NOWHERE),
        ("a view", "execute", "CREATE VIEW public.planted AS SELECT 1", MAKES, NOWHERE),
        ("a column's default", "execute", "ALTER TABLE notes ALTER body SET DEFAULT 'planted'",
         MAKES, NOWHERE),
        ("a SECURITY DEFINER function", "execute",
         "CREATE FUNCTION planted() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
         MAKES, NOWHERE),
        ("a function in pg_temp", "execute",
         "CREATE FUNCTION pg_temp.lower(text) RETURNS text LANGUAGE sql AS 'SELECT $1'", MAKES,
         NOWHERE),
        ("an event trigger", "execute",
         "CREATE EVENT TRIGGER planted ON ddl_command_start EXECUTE FUNCTION pg_catalog.now()",
         MAKES, NOWHERE),
        ("GRANT of the tenant's own table", "execute", "GRANT SELECT ON notes TO PUBLIC", MAKES,
         NOWHERE),
        ("GRANT of the tenant's own role", "execute", "GRANT {own} TO {other}", MAKES, NOWHERE),
        ("ALTER DEFAULT PRIVILEGES", "execute",
         "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC", MAKES, BELOW_STRICT),
        ("a setting of the login, for its next sessions", "set",
         "'; RESET ROLE; ALTER ROLE CURRENT_USER SET work_mem = '64kB'; SET LOCAL ROLE {me}; --",
         MAKES, BELOW_STRICT),
        ("another password for the login", "set",
         "'; RESET ROLE; ALTER ROLE CURRENT_USER PASSWORD 'planted'; SET LOCAL ROLE {me}; --",
         MAKES, BELOW_STRICT),
        # Not promised at any level
        ("other schemas' names in pg_catalog", "where",
         "' UNION SELECT 1, nspname::text FROM pg_namespace --", NAMES, EVERYWHERE),
        ("the texts of other schemas' constraints", "fetch",
         "SELECT connamespace::regnamespace::text || pg_get_constraintdef(oid) FROM pg_constraint",
         NAMES, EVERYWHERE),
        ("the sizes of other schemas' tables", "fetch",
         "SELECT sum(pg_relation_size(oid)) FROM pg_class "
         "WHERE relnamespace = '{other}'::regnamespace", RUNS, EVERYWHERE),
    )
)  # fmt: skip


def table() -> str:
    """Return the table of SECURITY.md."""
    lines = [
        f"{len(ATTACKS)} attacks, each made at every level:",
        "",
        "| attack | injected | `schema` | `role` | `strict` |",
        "|---|---|---|---|---|",
    ]
    for attack in ATTACKS:
        cells = ("**succeeds**" if level in attack.succeeds_at else "stopped" for level in LEVELS)
        lines.append(f"| {attack.name} | {WAYS[attack.way]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
