"""One file's change of one schema, and the SQL that begins and ends its transaction."""

from dataclasses import dataclass
from uuid import UUID

from tenancy.identifiers import literal, quoted
from tenancy.migrate.files.model import Migration, Stage
from tenancy.migrate.ledger import checkpoints, reversals, stamp
from tenancy.migrate.ledger.records import Facts, Move
from tenancy.migrate.ledger.steps import Direction
from tenancy.migrate.upgrade.scope import Scope
from tenancy.migrate.upgrade.way import Way, back

BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"


@dataclass(frozen=True, slots=True)
class Change:
    """A file on its way into a schema.

    Attributes:
        facts: of the schema, before the first file of this upgrade.
        move: of the checkpoint, when the file is in.
    """

    scope: Scope
    migration: Migration
    facts: Facts
    move: Move
    run_id: UUID | None

    @property
    def direction(self) -> Direction:
        """Whether the file is applied or taken back."""
        return Direction.UP

    @property
    def way(self) -> Way:
        """What of the file is run."""
        return self.migration

    @property
    def begun(self) -> list[str]:
        """The SQL that begins the transaction: the ledger's row first, then the scope."""
        return [
            BEGIN,
            *self.claimed,
            *self.scope.local(self.way.directives),
        ]

    @property
    def claimed(self) -> list[str]:
        """The SQL on the ledger before the file."""
        return [checkpoints.claim(self.scope.schema, self.migration, self.run_id)]

    @property
    def ended(self) -> list[str]:
        """The SQL that ends it but for COMMIT; it fails if the file has left its scope."""
        schema, stage = self.scope.schema, self.migration.stage
        return [
            *([readable(schema.name)] if stage is Stage.SHARED else []),
            self.checked,
            *self.stamped,
        ]

    @property
    def checked(self) -> str:
        """The SQL on the ledger after the file; it fails unless all is as it should be."""
        schema, migration = self.scope.schema, self.migration
        if migration.stage is Stage.CATALOG:
            return self.scope.check(checkpoints.moved(schema, migration.stage, self.move))
        return self.scope.check(true=(checkpoints.advanced(schema, migration, self.move),))

    @property
    def stamped(self) -> list[str]:
        """The SQL that stamps a schema which somebody may dump alone."""
        if self.migration.stage is not Stage.TENANT:
            return []
        return [stamp.sql(self.scope.schema, self.facts.comment, self.move)]

    @property
    def told(self) -> list[str]:
        """The SQL that tells of the new version; empty: nobody has to know."""
        if self.facts.tenant_id is None:
            return []
        return [f"NOTIFY tenancy_registry, {literal(self.facts.tenant_id)}"]


@dataclass(frozen=True, slots=True)
class Reversal(Change):
    """A file on its way out of a schema."""

    @property
    def direction(self) -> Direction:
        """Whether the file is applied or taken back."""
        return Direction.DOWN

    @property
    def way(self) -> Way:
        """What of the file is run."""
        return back(self.migration)

    @property
    def claimed(self) -> list[str]:
        """The SQL on the ledger before the file."""
        return reversals.forget(self.scope.schema, self.migration)

    @property
    def checked(self) -> str:
        """The SQL on the ledger after the file; it fails unless all is as it should be."""
        schema, migration = self.scope.schema, self.migration
        return self.scope.check(
            checkpoints.moved(schema, migration.stage, self.move),
            reversals.unclaim(schema, migration),
            reversals.note(schema, migration, self.run_id),
        )


def readable(shared: str) -> str:
    """Return the SQL that lets everybody who may connect read the shared schema, and no more."""
    schema = quoted(shared)
    return (
        f"REVOKE ALL ON SCHEMA {schema} FROM PUBLIC; GRANT USAGE ON SCHEMA {schema} TO PUBLIC; "
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO PUBLIC; "
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO PUBLIC"
    )
