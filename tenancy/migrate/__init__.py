"""The migrator: brings every tenant's schema to what the files say, and can be killed at any time.

``python -m tenancy.migrate`` is its command; these are its functions.
"""

import importlib
from typing import TYPE_CHECKING

from tenancy.migrate.files.folder import load_all as load
from tenancy.migrate.files.folder import packaged_sql_folder
from tenancy.migrate.files.model import Files, Migration, Stage
from tenancy.migrate.fleet.look import plan, status
from tenancy.migrate.fleet.options import Options
from tenancy.migrate.fleet.run import resume
from tenancy.migrate.fleet.run import up as migrate
from tenancy.migrate.origin.creation import apply_all, built
from tenancy.migrate.origin.snapshot import snapshot
from tenancy.migrate.plan.stages import refuse_unless_current, stages_behind
from tenancy.migrate.plan.steps import Survey
from tenancy.migrate.report.outcomes import Outcome, Report, Result
from tenancy.migrate.shape.snapshot import Snapshot
from tenancy.migrate.upgrade.batches import Batch
from tenancy.migrate.upgrade.lock import RunLockHeldError
from tenancy.migrate.upgrade.python import Context
from tenancy.migrate.upgrade.scratch import keep

if TYPE_CHECKING:
    from tenancy.migrate.upkeep.baseline import Baselined, baseline
    from tenancy.migrate.upkeep.down import Reversed, down
    from tenancy.migrate.upkeep.mending import Wanted
    from tenancy.migrate.upkeep.repair import Repairs, repairs
    from tenancy.migrate.upkeep.resolve import resolve
    from tenancy.migrate.upkeep.verdicts import Verification
    from tenancy.migrate.upkeep.verify import verify

__all__ = [
    "Baselined",
    "Batch",
    "Context",
    "Files",
    "Migration",
    "Options",
    "Outcome",
    "Repairs",
    "Report",
    "Result",
    "Reversed",
    "RunLockHeldError",
    "Snapshot",
    "Stage",
    "Survey",
    "Verification",
    "Wanted",
    "apply_all",
    "baseline",
    "built",
    "down",
    "keep",
    "load",
    "migrate",
    "packaged_sql_folder",
    "plan",
    "refuse_unless_current",
    "repairs",
    "resolve",
    "resume",
    "snapshot",
    "stages_behind",
    "status",
    "verify",
]


# Imported when they are asked for: a run that finds nothing pending has no need of them.
_UPKEEP = {
    "Baselined": "baseline",
    "Repairs": "repair",
    "Reversed": "down",
    "Verification": "verdicts",
    "Wanted": "mending",
    "baseline": "baseline",
    "down": "down",
    "repairs": "repair",
    "resolve": "resolve",
    "verify": "verify",
}


def __getattr__(name: str) -> object:
    if name not in _UPKEEP:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.upkeep.{_UPKEEP[name]}"), name)
