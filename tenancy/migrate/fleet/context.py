"""What all parts of one run share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from tenancy.migrate.files.model import Files, Stage
from tenancy.migrate.fleet import waves
from tenancy.migrate.fleet.brake import Brake
from tenancy.migrate.fleet.control import Control
from tenancy.migrate.fleet.crew import Crew
from tenancy.migrate.fleet.options import Options
from tenancy.migrate.fleet.shapes import Shapes
from tenancy.migrate.fleet.tally import Tally
from tenancy.migrate.ledger.selection import EVERYTHING, Selection
from tenancy.migrate.plan.steps import Step, Survey
from tenancy.migrate.plan.survey import behind, refuse_unknown, survey
from tenancy.settings import Settings


@dataclass(slots=True)
class Context:
    """One run of one process.

    Attributes:
        run_id: None: nothing has been begun but the catalog.
    """

    settings: Settings
    files: Files
    options: Options
    control: Control
    brake: Brake
    tally: Tally
    crew: Crew
    shapes: Shapes = field(default_factory=Shapes)

    @property
    def run_id(self) -> UUID | None:
        """Of the run under way."""
        return self.control.run_id

    @property
    def until(self) -> str | None:
        """The version at which tenants are to stand."""
        return self.options.until_in(self.files)

    @property
    def selection(self) -> Selection:
        """Which tenants are meant."""
        return self.options.selection_in(self.files)

    async def survey(self) -> Survey:
        """Return what is behind, of tenants that are there.

        Raises:
            UnknownTenantError: there is no such tenant, nor canary.
        """
        found = await self.pending()
        selection, canary = self.selection, waves.slugs(self.options.canary)
        if canary or not selection.everything:
            await self.control.read(
                lambda conn: refuse_unknown(conn, selection, canary, empty=found.empty)
            )
        return found

    async def pending(self) -> Survey:
        """Return what is behind."""
        shared = self.settings.shared_schema
        return await self.control.read(
            lambda conn: survey(conn, self.files, shared, self.selection, self.until)
        )

    async def behind(self, stage: Stage) -> list[Step]:
        """Return the schemas of *stage* that are behind."""
        return await self._behind(stage, self.selection)

    async def behind_of(self, oids: Sequence[int]) -> list[Step]:
        """Return those of the tenants' schemas *oids* that are behind.

        One that has been chosen by its version stays chosen when it has gone on from there.
        """
        chosen = self.selection
        found = Selection(exclude=chosen.exclude, states=chosen.states, where=chosen.where)
        return await self._behind(Stage.TENANT, found, oids)

    async def _behind(
        self, stage: Stage, selection: Selection = EVERYTHING, oids: Sequence[int] | None = None
    ) -> list[Step]:
        shared = self.settings.shared_schema
        return await self.control.read(
            lambda conn: behind(
                conn, self.files, stage, shared, selection, until=self.until, oids=oids
            )
        )
