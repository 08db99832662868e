"""Every rule of ours by its name, in the order in which the guide lists them."""

from tenancy.migrate.lint.finding import EVERYWHERE, Level, Rule
from tenancy.migrate.lint.rules import functions, leftovers, locks, probes, python, reach, shared

# What the reader of files refuses: found by files/rules.py, whose words say why.
REFUSALS = (
    Rule(
        "unreadable",
        Level.ERROR,
        "the migrator does not load this file, and none of the others before it is put right",
        "what the finding says",
        stages=EVERYWHERE,
    ),
    Rule(
        "psql-command",
        Level.ERROR,
        "needs psql, which the migrator is not",
        "plain SQL",
        stages=EVERYWHERE,
    ),
    Rule(
        "copy-from-stdin",
        Level.ERROR,
        "needs a client that sends the rows",
        "INSERT statements, or a Python file that calls copy_records_to_table",
        stages=EVERYWHERE,
    ),
    Rule(
        "not-in-transaction",
        Level.ERROR,
        "the server does not run this inside a transaction, which the file is",
        "a file of its own, with -- migrate:up transaction:false on top",
        stages=EVERYWHERE,
    ),
)
IGNORE = Rule(
    "ignore",
    Level.WARNING,
    "the comment keeps nothing silent",
    "remove it, or write -- lint:ignore <rule> <reason> above the statement",
    stages=EVERYWHERE,
)

RULES = (
    *REFUSALS,
    *leftovers.RULES,
    *reach.RULES,
    *probes.RULES,
    *shared.RULES,
    *functions.RULES,
    *locks.RULES,
    *python.RULES,
    IGNORE,
)
BY_NAME = {rule.name: rule for rule in RULES}
