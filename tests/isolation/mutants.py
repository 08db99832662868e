"""Mutants: the suite is valid only if each of these faults makes it fail.

    python tests/isolation/mutants.py                 all of them, some minutes
    python tests/isolation/mutants.py --only marker   those with this word in their name

Each is applied to a copy of the tree, where the tests named beside it must fail. First of all the
same tests must pass in a copy that nothing was done to. Exits with 1 if a mutant survives.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")
LIMIT_SECONDS = 300

Edit = tuple[str, str, str]  # a file below tenancy/, a text in it, and what to put in its place

CONNECTION = "pool/connection.py"
ENTRY = "pool/entry.py"

POISON = "tests/isolation/test_poison.py"
STORM = "tests/isolation/test_storm.py"
HANDLER = "tests/isolation/test_handler.py"
WALLS = "tests/isolation/test_walls.py"
WIRE = "tests/isolation/test_wire.py"
MATRIX = "tests/isolation/test_wire_matrix.py"
CANCEL = "tests/isolation/test_cancel.py"
POINTS = "tests/isolation/test_cancel_points.py"
HOSTS = "tests/isolation/test_hosts.py"
MUTATED_HOSTS = "tests/isolation/test_host_mutations.py"
LEFT = "tests/isolation/test_left_behind.py"
NAMES = "tests/integration/test_names.py"
READ_ONLY = "tests/isolation/test_read_only.py"
SHAPE = "tests/isolation/test_shape.py"
SHUTDOWN = "tests/acceptance/test_shutdown.py"
RACES = "tests/integration/test_migrate_races.py"
FAULTS = "tests/integration/test_migrate_faults.py"
CHAOS = "tests/acceptance/test_chaos.py"


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes:
        name: what is missing or wrong.
        edits: what makes it so.
        tests: pytest's arguments, of which at least one test must fail.
    """

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]

    def apply(self, root: Path) -> None:
        """Change the tree at *root*.

        Raises:
            LookupError: a text to replace is gone; the mutant must follow the code.
        """
        for name, old, new in self.edits:
            path = root / "tenancy" / name
            text = path.read_text()
            if old not in text:
                raise LookupError(f"{self.name}: {name} no longer holds {old!r}")
            path.write_text(text.replace(old, new))


def _one(name: str, edit: Edit, *tests: str) -> Mutant:
    return Mutant(name, (edit,), tests)


MUTANTS = (
    # What a connection forgets
    _one("no DISCARD TEMP", (ENTRY, "DISCARD TEMP; ", ""), POISON, "-k", "temporary"),
    _one(
        "no RESET ROLE",
        (ENTRY, "RESET SESSION AUTHORIZATION; RESET ROLE; ", ""),
        *(POISON, "-k", "role or session_user"),
    ),
    _one("no RESET ALL", (ENTRY, "; RESET ALL", ""), POISON, "-k", "setting or timeout"),
    _one("no CLOSE ALL", (ENTRY, "CLOSE ALL; ", ""), POISON, "-k", "cursor"),
    _one("no UNLISTEN", (ENTRY, "UNLISTEN *; ", ""), POISON, "-k", "listen"),
    _one(
        "no DISCARD SEQUENCES", (ENTRY, "DISCARD SEQUENCES; ", ""),
        *(POISON, "-k", "sequence"),
    ),
    _one(
        "no advisory unlock",
        ("scope.py", "pg_catalog.pg_advisory_unlock_all()", "pg_catalog.now()"),
        *(POISON, "-k", "lock"),
    ),
    _one(
        "no PREPARE assertion",
        (CONNECTION, "pg_prepared_statement() WHERE from_sql", "pg_database WHERE false"),
        *(POISON, "-k", "prepared or redefined"),
    ),
    _one(
        "deallocated statements unseen",
        (CONNECTION, " WHERE own NOT IN (", " WHERE false AND own NOT IN ("),
        *(POISON, "-k", "deallocated"),
    ),
    _one(
        "a codec is kept",
        (CONNECTION, "self._tampered |= ", "self._tampered &= "),
        *(POISON, "-k", "codec or logger"),
    ),
    Mutant(  # and the storm, which must be able to fail
        "asyncpg's own reset",
        (
            (ENTRY, "DISCARD TEMP; DISCARD SEQUENCES; ", ""),
            (ENTRY, "RESET SESSION AUTHORIZATION; RESET ROLE; ", ""),
            (CONNECTION, "pg_prepared_statement() WHERE from_sql", "pg_database WHERE false"),
            (CONNECTION, " WHERE own NOT IN (", " WHERE false AND own NOT IN ("),
        ),
        (STORM,),
    ),
    # The way in
    Mutant(
        "SET for SET LOCAL",
        (
            ("scope.py", "SET LOCAL search_path", "SET search_path"),
            ("scope.py", "SET LOCAL ROLE", "SET ROLE"),
            ("scope.py", "SET LOCAL tenancy.scope", "SET tenancy.scope"),
        ),
        (HANDLER, "-k", "answer_tells"),
    ),
    Mutant(
        "public in the path",
        (
            ("scope.py", '(*map(quoted, schemas), "pg_temp")', '(*map(quoted, schemas), "public")'),
            ("scope.py", '(*schemas, "pg_temp")', '(*schemas, "public")'),
        ),
        (WALLS, "-k", "missing_table"),
    ),
    Mutant(
        "pg_temp not last",
        (
            ("scope.py", '*map(quoted, schemas), "pg_temp"', '"pg_temp", *map(quoted, schemas)'),
            ("scope.py", '(*schemas, "pg_temp")', '("pg_temp", *schemas)'),
        ),
        (HANDLER, "-k", "deferred_trigger"),
    ),
    _one(
        "a session path",
        ("pool/pooler.py", '"search_path": "",', '"search_path": "public",'),
        *(POISON, "-k", "own"),
    ),
    _one(
        "no second try at the way in", ("pool/pool.py", "MAX_TRIES = 3", "MAX_TRIES = 1"),
        *(WIRE, "-k", "died_idle or killed_idle"),
    ),
    # The way out
    Mutant(
        "COMMIT's tag unchecked, and nothing before it",
        (
            ("scope.py", 'return f"SET CONS', 'return "COMMIT" or f"SET CONS'),
            ("transaction.py", 'if tag != "COMMIT":', "if False:"),
        ),
        (HANDLER, "-k", "swallows"),
    ),
    _one(
        "no SET CONSTRAINTS", ("scope.py", "SET CONSTRAINTS ALL IMMEDIATE; ", ""),
        *(HANDLER, "-k", "deferred_trigger"),
    ),
    _one(
        "commit in teardown",
        ("transaction.py", "            if error is None:\n", "            if True:\n"),
        *(HANDLER, "-k", "answer_tells or failing"),
    ),
    _one(
        "no marker",
        ("scope.py", "pg_catalog.current_setting('tenancy.scope', true) OPERATOR(pg_catalog.=)",
         "text 'none' OPERATOR(pg_catalog.<>)"),
        *(HANDLER, "-k", "restores"),
    ),
    _one(
        "no guard of the role",
        ("scope.py", "AND current_user OPERATOR(pg_catalog.=) {whoever}", ""),
        *(HANDLER, "-k", "role"),
    ),
    _one(
        "no guard of the path",
        ("scope.py", "pg_catalog.current_setting('search_path') OPERATOR(pg_catalog.=)",
         "text '' OPERATOR(pg_catalog.<>)"),
        *(HANDLER, "-k", "path"),
    ),
    _one(
        "no guard of read-only",
        ("scope.py", "OPERATOR(pg_catalog.=) {readonly}",
         "OPERATOR(pg_catalog.<>) ({readonly} OPERATOR(pg_catalog.||) text 'x')"),
        *(LEFT, "-k", "read_only_block"),
    ),
    _one(
        "acquire without try",
        ("transaction.py", "await self._pool.leave(", "error or await self._pool.leave("),
        *(HANDLER, "-k", "failing_block or cancelled_block"),
    ),
    _one(
        "a release after COMMIT that waits",
        ("transaction.py", "wait=error is not None", "wait=True"),
        *(POINTS, "-k", "takes_time"),
    ),
    _one(
        "cancelled during COMMIT is told as cancelled",
        ("transaction.py", "        if scope.readonly:\n            raise\n",
         "        if True:\n            raise\n"),
        *(POINTS, "-k", "once and warm and asyncio"),
    ),
    _one(
        "a COMMIT without an answer is told as not saved",
        ("transaction.py", 'return CommitUnknownError("the connection',
         'return DatabaseUnavailableError("the connection'),
        *(WIRE, "-k", "unknown"),
    ),
    _one(
        "a transaction inside of another",
        ("transaction.py", "outer is not None and outer.is_mine()", "False"),
        *(HANDLER, "-k", "task_holds_one or second_transaction"),
    ),
    _one(
        "a read-only transaction becomes read-write",
        ("scope.py", "' READ ONLY; CLOSE ALL'", "' READ ONLY'"),
        *(READ_ONLY, "-k", "read_write"),
    ),
    _one(
        "a resolver may use a former slug",
        ("registry/registry.py", "None if key.kind is KeyKind.FORMER_SLUG else ", ""),
        *(NAMES, "-k", "no_resolver"),
    ),
    # Deadlines
    _one(
        "no command timeout",
        ("pool/pool.py", "command_timeout=settings.statement_timeout_seconds + 1,", ""),
        MATRIX,
    ),
    _one(
        "a connection that does not answer is asked again",
        ("transaction.py", "discard(self._conn)  # the driver's own", "pass  # the driver's own"),
        MATRIX,
    ),
    _one(
        "no time limit for an idle transaction",
        ("pool/pooler.py", '"idle_in_transaction_session_timeout":', '"idle_session_timeout":'),
        *(CANCEL, "-k", "left_idle"),
    ),
    # Statements
    Mutant(
        "no shape key",
        ((CONNECTION, "own_key + query, shared_key + query", "query, query"),),
        (SHAPE,),
    ),
    _one("a version is believed", (CONNECTION, "not shapes.has_seen(own) or ", ""), SHAPE),
    # Requests
    _one(
        "plain Quart request class",
        ("web/hooks.py", "app.asgi_http_class = shutdown.HTTPConnection", "pass"),
        *(SHUTDOWN, "-k", "refused or keeps_the_books"),
    ),
    _one(
        "a refused request may still commit",
        ("tenant.py", "if request.refused:", "if False:"),
        *(LEFT, "-k", "shielded"),
    ),
    _one(
        "another tenant's transaction inside a request",
        ("tenant.py", "request.tenant is not None and request.tenant.id != tenant.id", "False"),
        *(HANDLER, "-k", "another_tenants"),
    ),
    Mutant(
        "split('.')[0] as resolver",
        (
            ("resolvers/host.py", "return name not in bases and ", "return True or "),
            ("resolvers/host.py", 'if name.endswith(f".{base}")), key', "), key"),
            ("resolvers/host.py", 'name.removesuffix(f".{base}")', 'name.split(".")[0]'),
        ),
        (HOSTS, MUTATED_HOSTS, "-k", "answer or mutated"),
    ),
    _one(
        "the first of two hosts",
        ("resolvers/host.py", "if len(values) != 1:", "if not values:"),
        *(HOSTS, "-k", "or_two"),
    ),
    _one(
        "a host forwarded by a stranger",
        ("resolvers/host.py", 'key.lower() == b"host"]', 'key.lower() in (b"host", b"x-host")]'),
        *(HOSTS, "-k", "forwarded"),
    ),
    _one(
        "an id of any size", ("demo.py", "return note_id if note_id <= MAX_ID else abort(404)",
                              "return note_id"),
        *(MUTATED_HOSTS, "-k", "nobody_should_send"),
    ),
    # Rights
    _one(
        "GRANT ALL",
        ("rights.py", "SELECT, INSERT, UPDATE, DELETE ON TABLES TO", "ALL ON TABLES TO"),
        *(WALLS, "-k", "refuses"),
    ),
    # The migrator
    _one(
        "statement and ledger row apart",
        ("migrate/upgrade/change.py", "            self.checked,",
         '            "COMMIT", BEGIN, self.checked,'),
        *(RACES, FAULTS, "-k", "kill_9 or looked_up or deferred_constraint or apply_once"),
    ),
    Mutant(
        "version read without lock",
        (
            ("migrate/ledger/checkpoints.py", 'f"{before}, {after}, {newest})"',
             ('f"(SELECT digest FROM tenancy.checkpoints WHERE schema_oid = {schema.oid:d}), "\n'
              '        f"{after}, {newest})"')),
        ),
        (RACES, "-k", "stand_before or of_two_transactions"),
    ),
    _one(
        "statement and ledger row apart, under kill -9",
        ("migrate/upgrade/change.py", "            self.checked,\n",
         '            "COMMIT", BEGIN, self.checked,\n'),
        *(CHAOS, "-k", "killed_at_any_moment"),
    ),
    _one(
        "a batch apart from its cursor",
        ("migrate/upgrade/batches.py", "            moved = replace(moved, cursor=cursor)\n",
         ("            moved = replace(moved, cursor=cursor)\n"
          "            await self._transaction.commit()\n"
          "            await self._begin_transaction()\n")),
        *(CHAOS, "-k", "killed_at_any_moment"),
    ),
    Mutant(
        "a statement is told as done before it is run",
        (
            ("migrate/upgrade/outside.py", "steps.begin(place, unit.digest, run_id, before)",
             "steps.done(place, unit.digest, run_id)"),
            ("migrate/ledger/steps.py",
             """        f"WHERE {place.sql()} AND finished_at IS NULL RETURNING 1"
    )\n\n\ndef forget""",
             """        f"WHERE {place.sql()} RETURNING 1"\n    )\n\n\ndef forget"""),
        ),
        (CHAOS, "-k", "killed_at_any_moment"),
    ),
    _one(
        "a statement that was cut off is taken for done",
        ("migrate/upgrade/outside.py", "return found is Truth.DONE", "return True"),
        *(CHAOS, "-k", "killed_at_any_moment"),
    ),
    _one(
        "an index that is INVALID is taken for built",
        ("migrate/upgrade/truth.py", 'Truth.DONE if found and found[0]["valid"] else',
         "Truth.DONE if found else"),
        *(CHAOS, "-k", "killed_at_any_moment"),
    ),
    _one(
        "a data fix apart from its row",
        ("migrate/upgrade/outside.py",
         ("            await self._conn.execute(BEGIN)\n"
          "            await self._conn.execute(steps.done(place, unit.digest, run_id))\n"),
         ("            await self._conn.execute(steps.done(place, unit.digest, run_id))\n"
          "            await self._conn.execute(BEGIN)\n")),
        *(CHAOS, "-k", "killed_at_any_moment"),
    ),
)  # fmt: skip


def _run(mutant: Mutant | None, tests: Iterable[str]) -> tuple[int | None, str]:
    """Return pytest's exit code in a fresh copy, None where it took too long, and what failed."""
    with tempfile.TemporaryDirectory(prefix="tenancy-mutant-") as directory:
        root = Path(directory) / "tree"
        shutil.copytree(ROOT, root, ignore=LEFT_OUT)
        if mutant is not None:
            mutant.apply(root)
        command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests]
        env = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(
            command, cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            out, _ = process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return None, "no end within the time limit"
    summary = out.rpartition("short test summary info")[2]
    failed = [line for line in summary.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return process.returncode, failed[0] if failed else out.strip().rpartition("\n")[2]


def _verdict(mutant: Mutant) -> tuple[Mutant, bool, str]:
    code, words = _run(mutant, mutant.tests)
    if code is None:
        return mutant, True, words
    if code == 1 and words.startswith("FAILED"):
        return mutant, True, words.removeprefix("FAILED ").partition(" - ")[0]
    return mutant, False, words


def _pristine(pool: ThreadPoolExecutor, mutants: Iterable[Mutant]) -> bool:
    """Whether the tests of all *mutants* pass where nothing is wrong."""
    chosen = sorted({mutant.tests for mutant in mutants})
    results = pool.map(lambda tests: _run(None, tests), chosen)
    failing = [
        (tests, words) for tests, (code, words) in zip(chosen, results, strict=True) if code != 0
    ]
    for tests, words in failing:
        print(f"fails without any mutant: {' '.join(tests)}: {words}")
    return not failing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", help="mutants with this word in their name")
    parser.add_argument("--workers", type=int, default=2, help="so many at once")
    parser.add_argument("--skip-pristine", action="store_true", help="trust the tree as it is")
    options = parser.parse_args()
    words = options.only or [""]
    chosen = [mutant for mutant in MUTANTS if any(word in mutant.name for word in words)]
    survivors = 0
    with ThreadPoolExecutor(options.workers) as pool:
        if not chosen or not (options.skip_pristine or _pristine(pool, chosen)):
            return 1
        for mutant, caught, why in pool.map(_verdict, chosen):
            survivors += not caught
            print(f"{'caught' if caught else 'SURVIVED':8}  {mutant.name:52}  {why}", flush=True)
    print(f"{len(chosen)} mutants, {survivors} survived")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
