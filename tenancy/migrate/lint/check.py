"""All files through all rules: what is found, but for what is ignored."""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tenancy.errors import MigrationFileError
from tenancy.migrate.files.model import Files, Migration
from tenancy.migrate.files.source import Source
from tenancy.migrate.files.splitter import line_column
from tenancy.migrate.lint import catalog, ignoring
from tenancy.migrate.lint.catalog import BY_NAME, IGNORE, REFUSALS
from tenancy.migrate.lint.classic import KNOWN, ON, Hit, Squawk
from tenancy.migrate.lint.finding import Finding
from tenancy.migrate.lint.ignoring import Ignore
from tenancy.migrate.lint.opening import Opened, opened
from tenancy.migrate.lint.rules import python
from tenancy.migrate.lint.unit import Surroundings, Unit, surroundings

_REFUSAL = re.compile(
    r"(?P<label>[^\s:]+)(?::(?P<line>\d+):(?P<column>\d+))?:? (?P<reason>.*)", re.DOTALL
)
_TRANSACTION = "(BEGIN|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE|START|PREPARE)"
_OF_REFUSAL = tuple(
    (rule, re.compile(pattern))
    for rule, pattern in (
        ("other-schema", r"the schema '"),
        ("psql-command", r"a psql command\b"),
        ("copy-from-stdin", r"COPY\b"),
        ("transaction-control", rf"{_TRANSACTION}\b|SET .*(TRANSACTION|CHARACTERISTICS)\b"),
        ("search-path", r"(SET|RESET|DISCARD)\b"),
        ("cluster-object", r"(CREATE|ALTER|DROP) (EXTENSION|DATABASE|TABLESPACE|SYSTEM)\b"),
        ("not-in-transaction", r"(CREATE|DROP|REINDEX|ALTER|VACUUM|CLUSTER)\b"),
    )
)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rules are asked.

    Attributes:
        only: none but these; empty: the usual ones.
        also: besides, of those that are off unless asked for.
        without: not these.
    """

    only: frozenset[str] = frozenset()
    also: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """The names of the rules."""
        usual = frozenset(BY_NAME) | frozenset(ON)
        return ((self.only or usual) | self.also) - self.without

    @property
    def unknown(self) -> frozenset[str]:
        """Names that no rule has."""
        return (self.only | self.also | self.without) - BY_NAME.keys() - KNOWN


def lint(
    files: Files,
    chosen: Sequence[Migration],
    *,
    shared_schema: str,
    choice: Choice | None = None,
    squawk: Squawk | None = None,
) -> list[Finding]:
    """Return what rules find in *chosen* files, in the order of files and places.

    Args:
        files: all there are: what they make is what the chosen ones are read against.
        chosen: those to look at.
        shared_schema: its name in this deployment.
        choice: of rules.
        squawk: None: its rules are left out.

    Raises:
        SquawkError: it does not run.
    """
    names = (choice or Choice()).names
    asked = names if squawk else names - KNOWN
    around = surroundings(files, shared_schema)
    some = [opened(migration) for migration in chosen]
    classic = squawk.hits(some, names & KNOWN) if squawk else {}
    found: set[Finding] = set()
    for one in some:
        refused = {refusal(error) for error in one.refused}
        taken = {(finding.place, finding.rule) for finding in refused}
        hits = [*_hits(one, around), *classic.get(one.label, ())]
        told = set(_findings(one, hits, asked))
        found |= refused | {item for item in told if (item.place, item.rule) not in taken}
    return sorted(finding for finding in found if finding.rule in names)


def _hits(one: Opened, around: Surroundings) -> Iterator[Hit]:
    if one.is_python:
        return _python_hits(one, around)
    return _sql_hits(Unit(one.source, one.migration.stage, one.directives.transactional, around))


def _sql_hits(unit: Unit) -> Iterator[Hit]:
    for rule in catalog.RULES:
        if rule.find is not None and unit.stage in rule.stages:
            yield from (Hit(offset, rule) for offset in rule.find(unit))


def _python_hits(one: Opened, around: Surroundings) -> Iterator[Hit]:
    text = one.source.text
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return  # refused when it is read
    transactional = one.directives.transactional
    for name, node in python.hits(tree, transactional=transactional):
        yield Hit(_offset(text, node), BY_NAME[name])
    for node in python.queries(tree):
        if not isinstance(node.value, str):
            continue
        source = Source(one.label, node.value)
        for hit in _sql_hits(Unit(source, one.migration.stage, transactional, around)):
            yield Hit(_offset(text, node), hit.rule)


def _offset(text: str, node: ast.expr | ast.stmt) -> int:
    lines = text.splitlines(keepends=True)
    within = lines[node.lineno - 1].encode()[: node.col_offset].decode(errors="ignore")
    return sum(map(len, lines[: node.lineno - 1])) + len(within)


def _findings(one: Opened, hits: Sequence[Hit], asked: frozenset[str]) -> Iterator[Finding]:
    source = one.whole
    comments = [*ignoring.ignores(source, one.source)]
    used: set[Ignore] = set()
    for hit in hits:
        by = [
            comment
            for comment in comments
            if comment.rule == hit.rule.name and comment.first <= hit.offset <= comment.last
        ]
        used.update(by)
        if not by:
            yield _finding(source, hit)
    for comment in comments:
        fault = _fault(comment, used=comment in used, asked=asked)
        if fault:
            yield _finding(source, Hit(comment.start, replace(IGNORE, why=fault)))


def _fault(comment: Ignore, *, used: bool, asked: frozenset[str]) -> str:
    """Return what is wrong with an ignoring comment; empty: nothing."""
    if comment.rule not in BY_NAME.keys() | KNOWN:
        return f"no rule is called {comment.rule!r}"
    if not comment.reason:
        return f"nobody says why {comment.rule} may be ignored here"
    if comment.rule in {rule.name for rule in REFUSALS}:
        return f"{comment.rule} cannot be ignored: the migrator does not load the file"
    unused = not used and comment.rule in asked
    return f"there is nothing to ignore: {comment.rule} finds nothing here" if unused else ""


def _finding(source: Source, hit: Hit) -> Finding:
    line, column = line_column(source.text, hit.offset)
    rule = hit.rule
    return Finding(source.label, line, column, rule.name, rule.level, rule.why, rule.instead)


def refusal(error: MigrationFileError) -> Finding:
    """Return a refusal as the finding of the rule that it is about."""
    match = _REFUSAL.match(str(error))
    reason = match["reason"] if match else str(error)
    name = next((rule for rule, pattern in _OF_REFUSAL if pattern.match(reason)), "unreadable")
    rule = BY_NAME[name]
    return Finding(
        match["label"] if match else "",
        int(match["line"] or 1) if match else 1,
        int(match["column"] or 1) if match else 1,
        name,
        rule.level,
        reason,
        rule.instead,
    )
