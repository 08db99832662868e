"""The classic rules of online migrations: squawk's, run on the way up of SQL files.

Its findings are warnings: which table is small in every tenant it cannot know.
"""

import json
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tenancy.errors import TenancyError
from tenancy.exits import Exit
from tenancy.migrate.files.source import Source
from tenancy.migrate.lint.finding import EVERYWHERE, Level, Rule
from tenancy.migrate.lint.opening import Opened

SECONDS = 60.0  # for all files; it reads hundreds in one
_CLEARINGS = 5  # of statements that it cannot read, so that it reads the others

# What blocks or breaks a fleet that is served meanwhile, half of it one version ahead.
ON = {
    "adding-field-with-default": "add the column without it, SET DEFAULT, and fill it in batches",
    "adding-foreign-key-constraint": "NOT VALID, and VALIDATE CONSTRAINT in a later file",
    "adding-not-nullable-field": "a CHECK (... IS NOT NULL) NOT VALID, VALIDATE CONSTRAINT in a "
    "later file, then SET NOT NULL, which believes it",
    "adding-required-field": "give it a DEFAULT, or let it be null until it is filled",
    "adding-serial-primary-key-field": "CREATE UNIQUE INDEX CONCURRENTLY in a transaction:false "
    "file, then ADD PRIMARY KEY USING INDEX",
    "ban-alter-domain-with-add-constraint": "a CHECK on the columns, NOT VALID",
    "ban-create-domain-with-constraint": "a CHECK on the columns",
    "ban-drop-column": "first serve a build that does not use it; SELECT * does",
    "ban-drop-not-null": "first serve a build that can read a null",
    "ban-drop-table": "first serve a build that does not use it",
    "ban-duplicate-column-assignments": "one value",
    "ban-truncate-cascade": "name the tables",
    "changing-column-type": "a new column, filled in batches; widening varchar, or to text, costs "
    "nothing: say lint:ignore with that reason",
    "constraint-missing-not-valid": "NOT VALID, and VALIDATE CONSTRAINT in a later file",
    "disallowed-unique-constraint": "CREATE UNIQUE INDEX CONCURRENTLY in a transaction:false file, "
    "then ADD CONSTRAINT ... UNIQUE USING INDEX",
    "identifier-too-long": "a name of at most 63 bytes",
    "prefer-repack": "pg_repack, tenant by tenant, outside of the migrations",
    "renaming-column": "add the new one, serve a build that uses it, then drop the old one",
    "renaming-table": "make a view of the new name, serve a build that uses it, then rename",
    "require-concurrent-index-creation": "CREATE INDEX CONCURRENTLY in a transaction:false file; "
    "where the table is small in every tenant, say lint:ignore with that reason",
    "require-concurrent-index-deletion": "DROP INDEX CONCURRENTLY in a transaction:false file",
    "require-concurrent-partition-detach": "DETACH PARTITION ... CONCURRENTLY in a "
    "transaction:false file",
    "require-concurrent-reindex": "REINDEX ... CONCURRENTLY in a transaction:false file",
    "require-enum-value-ordering": "say BEFORE or AFTER which value",
    "syntax-error": "what the server reads; if it does read this, tell squawk's authors",
}
# Off unless asked for by name, and why.
OFF = {
    **dict.fromkeys(
        ("require-lock-timeout", "require-statement-timeout", "require-timeout-settings"),
        "the migrator sets both for every file",
    ),
    **dict.fromkeys(
        ("transaction-nesting", "ban-uncommitted-transaction"),
        "the migrator refuses such a file: transaction-control",
    ),
    "ban-concurrent-index-creation-in-transaction": "the same: not-in-transaction",
    "ban-drop-database": "the same: cluster-object",
    "prefer-robust-stmts": "the ledger runs a file once, and IF NOT EXISTS hides what differs",
    "require-table-schema": "a tenant's file names no schema: other-schema",
    **dict.fromkeys(
        (
            *("prefer-bigint-over-int", "prefer-bigint-over-smallint", "prefer-identity"),
            *("prefer-text-field", "prefer-timestamp-tz", "ban-char-field"),
        ),
        "a matter of taste, said of every new table",
    ),
    **dict.fromkeys(
        (
            *("ban-add-column", "ban-add-composite-attribute", "ban-add-enum-value"),
            *("ban-alter-database-options", "ban-alter-extension", "ban-alter-function-options"),
            *("ban-alter-generated-expression", "ban-alter-identity", "ban-alter-policy-condition"),
            *("ban-alter-policy-roles", "ban-alter-role-options", "ban-alter-row-level-security"),
            *("ban-alter-sequence-values", "ban-alter-system-options", "ban-alter-view-options"),
            *("ban-create-policy", "ban-detach-inheritance", "ban-disable-trigger"),
            *("ban-drop-constraint", "ban-drop-default", "ban-drop-domain", "ban-drop-extension"),
            *("ban-drop-function", "ban-drop-generated-expression", "ban-drop-index"),
            *("ban-drop-policy", "ban-drop-schema", "ban-drop-sequence", "ban-drop-trigger"),
            *("ban-drop-type", "ban-drop-view", "ban-new-write-restriction"),
            *("ban-replace-view-function", "ban-replica-identity", "ban-revoke"),
            *("ban-set-default", "ban-set-schema", "renaming-object"),
        ),
        "forbids a whole kind of change",
    ),
}
KNOWN = frozenset(ON) | frozenset(OFF)
# The second says the same of the same statement, and less exactly.
_SAID_BY = {
    "constraint-missing-not-valid": (
        *("adding-foreign-key-constraint", "disallowed-unique-constraint"),
        "adding-serial-primary-key-field",
    )
}


class SquawkError(TenancyError):
    """squawk is asked for and not there, or does not do what is expected of it."""

    code = "squawk_failed"
    exit_code = Exit.ENVIRONMENT


class Hit(NamedTuple):
    """A rule, and the offset in the file that it speaks of."""

    offset: int
    rule: Rule


@dataclass(frozen=True, slots=True)
class Squawk:
    """The installed program.

    Attributes:
        program: its path.
        version: of the server that is linted for.
    """

    program: str
    version: int

    def hits(self, files: Sequence[Opened], wanted: frozenset[str]) -> dict[str, list[Hit]]:
        """Return what it finds in SQL files by the rules *wanted*, by the file's label.

        Raises:
            SquawkError: it does not run, or answers something else than it is known to.
        """
        found: dict[str, list[Hit]] = {}
        texts = {one.label: one.source for one in files if not one.is_python}
        transactional = {one.label for one in files if one.directives.transactional}
        for _ in range(_CLEARINGS):
            unread: dict[str, Source] = {}
            for label, hits in self._hits(texts, transactional, wanted).items():
                found.setdefault(label, []).extend(hits)
                errors = [hit.offset for hit in hits if hit.rule.name == "syntax-error"]
                if errors:  # of such a file it tells nothing else
                    unread[label] = _without(texts[label], errors)
            texts = {label: one for label, one in unread.items() if one != texts[label]}
            if not texts:
                break
        return found

    def _hits(
        self, texts: Mapping[str, Source], transactional: set[str], wanted: frozenset[str]
    ) -> dict[str, list[Hit]]:
        found: dict[str, list[Hit]] = {}
        for inside in (True, False):
            some = [label for label in texts if (label in transactional) is inside]
            with tempfile.TemporaryDirectory(prefix="tenancy-lint-") as folder:
                paths = {Path(folder, f"{at}.sql"): label for at, label in enumerate(some)}
                for path, label in paths.items():
                    path.write_text(texts[label].text, encoding="utf-8")
                answers = self._run(paths, wanted, transactional=inside) if paths else []
                for answer in answers:
                    label = paths[Path(answer["file"])]
                    found.setdefault(label, []).append(_hit(texts[label].text, answer))
        return {label: list(_once(texts[label], hits)) for label, hits in found.items()}

    def _run(
        self, paths: Iterable[Path], wanted: frozenset[str], *, transactional: bool
    ) -> list[dict[str, Any]]:
        first = next(iter(paths))
        config = first.with_name("squawk.toml")
        config.write_text("")  # not one that happens to lie above the working directory
        arguments = [
            *(self.program, "--reporter", "json", "--config", str(config)),
            *("--pg-version", f"{self.version}.0"),
            *(["--assume-in-transaction"] if transactional else []),
            *(f"--include={name}" for name in sorted(wanted & OFF.keys())),
            *(f"--exclude={name}" for name in sorted(KNOWN - wanted - {"syntax-error"})),
            *map(str, paths),
        ]
        try:
            done = subprocess.run(  # noqa: S603 - the program that was found, and our own files
                arguments, capture_output=True, text=True, timeout=SECONDS, check=False
            )
            answers = json.loads(done.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise SquawkError(
                f"{self.program} did not answer as expected: pip install 'tenancy[lint]'"
            ) from error
        return list(answers)


def installed(version: int) -> Squawk | None:
    """Return squawk as it is installed beside this Python, or else on the PATH."""
    beside = shutil.which("squawk", path=sysconfig.get_path("scripts"))
    program = beside or shutil.which("squawk")
    return Squawk(program, version) if program else None


def _hit(text: str, answer: Mapping[str, Any]) -> Hit:
    """Return one answer, whose line and column count from 0, the column in bytes of UTF-8."""
    lines = text.split("\n")
    line = lines[answer["line"]]
    within = len(line.encode()[: answer["column"]].decode(errors="ignore"))
    offset = sum(len(one) + 1 for one in lines[: answer["line"]]) + within
    name = str(answer["rule_name"])
    why = _sentence(answer["message"])
    instead = ON.get(name) or _sentence(answer["help"] or "another way")
    return Hit(offset, Rule(name, Level.WARNING, why, instead, stages=EVERYWHERE))


def _sentence(text: str) -> str:
    first = text.replace("`", "").split(". ")[0]
    return first.rstrip(".!")


def _once(source: Source, hits: Sequence[Hit]) -> Iterator[Hit]:
    """Yield the first of *hits* by each rule in a statement, unless another rule says it better."""
    first: dict[tuple[str, int], Hit] = {}
    for hit in hits:
        first.setdefault((hit.rule.name, _statement(source, hit.offset)), hit)
    for (name, at), hit in first.items():
        if not any((better, at) in first for better in _SAID_BY.get(name, ())):
            yield hit


def _statement(source: Source, offset: int) -> int:
    starts = [one.start for one in source.statements if one.start <= offset]
    return starts[-1] if starts else 0


def _without(source: Source, errors: Iterable[int]) -> Source:
    """Return *source* with blanks for the statements that *errors* are in."""
    spans = [(one.start, one.start + len(one.text)) for one in source.statements]
    faulty = [(a, b) for a, b in spans if any(a <= offset <= b for offset in errors)]
    return source.without(faulty)
