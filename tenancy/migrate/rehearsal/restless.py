"""What no rollback takes back: refused before it is tried in a tenant's own schema; pure."""

import re
from collections.abc import Iterable

from tenancy.errors import MigrationRefusedError
from tenancy.migrate.files.model import Migration

_SETVAL = re.compile(r"\bsetval\s*\(", re.IGNORECASE)


def refuse_setval(migrations: Iterable[Migration]) -> None:
    """Pass if none of *migrations* sets a sequence: that is done at once, and for good.

    Raises:
        MigrationRefusedError: names the place of the first that does.
    """
    for migration in migrations:
        match = _SETVAL.search(migration.source.text)
        if match:
            raise MigrationRefusedError(
                f"{migration.source.place(match.start())}: setval() is not undone by a rollback: "
                "rehearse it in a clone"
            )
