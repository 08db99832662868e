"""What a hostile request leaves on its connection; each is something a view or a library can do."""

import random
from collections.abc import Callable

from tenancy.identifiers import literal, quoted_login
from tenancy.leakcheck.filling import Filler

_LOCK_KEY = 7306

_FIXED = {
    "COMMIT": "COMMIT",
    "session search_path": (
        "SELECT set_config('search_path', current_setting('search_path'), false)"
    ),
    "session role": "SELECT set_config('role', current_user::text, false)",
    "advisory lock": f"SELECT pg_advisory_lock({_LOCK_KEY})",
    "LISTEN": "LISTEN leakcheck",
}
TEMPORARY_TABLE = "temporary table"
OWN_SETTINGS = "session settings"
PLANTS = (*_FIXED, TEMPORARY_TABLE, OWN_SETTINGS)


class Plants:
    """Makes the SQL of plants.

    Args:
        own_settings: names such as ``app.tenant`` that the application sets.
    """

    def __init__(
        self, filler: Filler, chance: random.Random, own_settings: Callable[[], set[str]]
    ) -> None:
        self._filler = filler
        self._chance = chance
        self._own_settings = own_settings

    def sql(self, name: str, tenant: int) -> str:
        """Return the SQL of the plant *name* in a request of *tenant*."""
        if name == TEMPORARY_TABLE:
            return self._temporary_table(tenant)
        if name == OWN_SETTINGS:
            kept = ", ".join(
                f"set_config({name}, coalesce(current_setting({name}, true), ''), false)"
                for name in map(literal, sorted(self._own_settings()))
            )
            return f"SELECT {kept or '1'}"
        return _FIXED[name]

    def _temporary_table(self, number: int) -> str:
        """Shadow a table of the tenants with one that holds this tenant's rows."""
        tenant, tables = self._filler.tenants[number]
        filled = [t for t in tables if t.name not in self._filler.unfilled]
        if not filled:
            return "SELECT 1"
        table = self._chance.choice(filled)
        name = quoted_login(table.name)
        where = ""
        column = table.column(self._filler.tenant_column or "")
        if column is not None:
            where = f" WHERE strpos(t::text, {literal(tenant.name)}) > 0"
        return f"CREATE TEMP TABLE {name} AS SELECT * FROM {table.quoted} t{where}"
