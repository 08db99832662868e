"""What a session inside a tenant's scope begins with."""

from dataclasses import dataclass

from tenancy.errors import DatabaseSetupError
from tenancy.identifiers import quoted
from tenancy.settings import Pooler, Settings
from tenancy.tenant import Tenant

IDLE_MILLISECONDS = 300_000


@dataclass(frozen=True, slots=True)
class Inside:
    """How to connect into a tenant's scope.

    Attributes:
        dsn: of the login of requests.
        options: the server's settings of the session, by name.
        name: of the session, in `pg_stat_activity`.
        prompt: whose it is, for a person to see.
    """

    dsn: str
    options: dict[str, str]
    name: str
    prompt: str


def inside(settings: Settings, tenant: Tenant, *, write: bool) -> Inside:
    """Return how to connect as *tenant*, whatever its state.

    Args:
        settings: of the deployment.
        tenant: whose scope.
        write: the server lets the session write.

    Raises:
        DatabaseSetupError: there is no way to the server but through a transaction pooler.
    """
    dsn = settings.dsn
    if settings.pooler is not Pooler.NONE:
        direct = settings.registry_listen_database_url
        if direct is None:
            raise DatabaseSetupError(
                "TENANCY_DATABASE_URL leads to a transaction pooler, which keeps no session: set "
                "TENANCY_REGISTRY_LISTEN_DATABASE_URL to the server's own address"
            )
        dsn = direct.get_secret_value()
    path = ", ".join((quoted(tenant.schema), quoted(settings.shared_schema), "pg_temp"))
    options = {
        "default_transaction_read_only": "off" if write else "on",
        # A transaction that is left open over lunch holds up migrations.
        "idle_in_transaction_session_timeout": str(IDLE_MILLISECONDS),
        "search_path": path,
    }
    if settings.isolation.sets_role:
        options["role"] = tenant.schema
    name = f"tenancy shell {tenant.slug}"[:63]
    return Inside(dsn, options, name, f"{tenant.slug}{'' if write else ' (read-only)'}")
