"""The migrator: brings every tenant's schema to what the files say, and can be killed at any time.

``python -m tenancy.migrate`` is its command; these are its functions.
"""

import importlib
from typing import TYPE_CHECKING

# At once, for the package `plan` would stand in its place as soon as somebody imports that.
from tenancy.migrate.fleet.overview import plan, status

if TYPE_CHECKING:
    from tenancy.migrate.files.folder import load_all as load
    from tenancy.migrate.files.folder import packaged_sql_folder
    from tenancy.migrate.files.model import Files, Migration, Stage
    from tenancy.migrate.fleet.options import Options
    from tenancy.migrate.fleet.run import resume
    from tenancy.migrate.fleet.run import up as migrate
    from tenancy.migrate.origin.snapshot import snapshot
    from tenancy.migrate.origin.tenants import apply_all, built
    from tenancy.migrate.plan.stages import refuse_unless_current, stages_behind
    from tenancy.migrate.plan.steps import Survey
    from tenancy.migrate.report.outcomes import Outcome, Report, Result
    from tenancy.migrate.shape.snapshot import Snapshot
    from tenancy.migrate.upgrade.batches import Batch
    from tenancy.migrate.upgrade.lock import RunLockHeldError
    from tenancy.migrate.upgrade.python import Context
    from tenancy.migrate.upgrade.scratch import keep
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

# Imported when they are asked for: a run that finds nothing pending takes as long as its imports.
_FROM = {
    "Baselined": "upkeep.baseline",
    "Batch": "upgrade.batches",
    "Context": "upgrade.python",
    "Files": "files.model",
    "Migration": "files.model",
    "Options": "fleet.options",
    "Outcome": "report.outcomes",
    "Repairs": "upkeep.repair",
    "Report": "report.outcomes",
    "Result": "report.outcomes",
    "Reversed": "upkeep.down",
    "RunLockHeldError": "upgrade.lock",
    "Snapshot": "shape.snapshot",
    "Stage": "files.model",
    "Survey": "plan.steps",
    "Verification": "upkeep.verdicts",
    "Wanted": "upkeep.mending",
    "apply_all": "origin.tenants",
    "baseline": "upkeep.baseline",
    "built": "origin.tenants",
    "down": "upkeep.down",
    "keep": "upgrade.scratch",
    "load": "files.folder:load_all",
    "migrate": "fleet.run:up",
    "packaged_sql_folder": "files.folder",
    "refuse_unless_current": "plan.stages",
    "repairs": "upkeep.repair",
    "resolve": "upkeep.resolve",
    "resume": "fleet.run",
    "snapshot": "origin.snapshot",
    "stages_behind": "plan.stages",
    "verify": "upkeep.verify",
}


def __getattr__(name: str) -> object:
    if name not in _FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, called = _FROM[name].partition(":")
    found = getattr(importlib.import_module(f"{__name__}.{module}"), called or name)
    globals()[name] = found
    return found
