"""Every error tenancy raises, under one base.

The message says what happened, which value it was and what to do; it is for the log and the
terminal. Over HTTP only ``title`` and ``code`` leave the process, so that no message, SQL, DSN or
other tenant's name can reach a client (RFC 9457).
"""

from typing import ClassVar


class TenancyError(Exception):
    """Base of all errors of this package.

    Attributes:
        code: stable machine-readable name, the ``code`` member of the problem document.
        status: HTTP status that answers a request which ends with this error.
        title: the only words a client sees.
        retry_after_seconds: sent as ``Retry-After`` where set.
        exit_code: of a command that ends with this error; `exits.Exit` names them.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "The server failed to answer this request."
    retry_after_seconds: ClassVar[int | None] = None
    exit_code: ClassVar[int] = 1


# Names and settings


class SettingsError(TenancyError):
    """The environment or a ``.env`` file does not describe a runnable service."""

    code = "invalid_settings"
    exit_code = 2


class InvalidIdentifierError(TenancyError, ValueError):
    """A schema or role name that PostgreSQL would not store exactly as written."""

    code = "invalid_identifier"


class InvalidSlugError(TenancyError, ValueError):
    """A slug that cannot be one DNS label of a tenant."""

    code = "invalid_slug"
    exit_code = 2
    status = 422
    title = "This slug cannot be used."


class InvalidDomainError(TenancyError, ValueError):
    """A name that cannot be a tenant's custom domain."""

    code = "invalid_domain"
    exit_code = 2
    status = 422
    title = "This domain cannot be used."


# From a request to its tenant


class MalformedHostError(TenancyError):
    """The request's host is missing, doubled or not a host name (RFC 9110, section 7.2)."""

    code = "malformed_host"
    status = 400
    title = "The Host header is missing or malformed."


class MalformedTargetError(TenancyError):
    """The request's target is neither a path, nor an address, nor ``*`` (RFC 9112, section 3.2)."""

    code = "malformed_target"
    status = 400
    title = "The request target is malformed."


class MisdirectedHostError(TenancyError):
    """The host is well formed, but not one this service answers for (RFC 9110, section 15.5.20)."""

    code = "misdirected_request"
    status = 421
    title = "This service does not answer for that host."


class UnknownTenantError(TenancyError, LookupError):
    """No tenant has this name: never was, reserved, or deleted; the answer is the same."""

    code = "unknown_tenant"
    exit_code = 2
    status = 404
    title = "There is nothing at this address."


class TenantSuspendedError(TenancyError):
    """The tenant exists and is suspended."""

    code = "tenant_suspended"
    status = 403
    title = "This account is suspended."


class TenantReadOnlyError(TenancyError):
    """The tenant exists and may only be read."""

    code = "tenant_read_only"
    status = 403
    title = "This account is read-only."


class TenantNotReadyError(TenancyError):
    """The tenant exists and cannot be served yet."""

    code = "tenant_not_ready"
    status = 503
    title = "This account is not ready yet."
    retry_after_seconds = 5


class NoTenantError(TenancyError):
    """A tenant's transaction was asked for where no tenant is being served."""

    code = "no_tenant"


class TenantMismatchError(TenancyError):
    """Code serving one tenant asked for a transaction of another."""

    code = "tenant_mismatch"


class NestedTransactionError(TenancyError):
    """A task that holds a tenant's transaction asked for a second one."""

    code = "nested_transaction"


# The database and the transaction


class NotStartedError(TenancyError):
    """The `Tenancy` object has no pool: it was never started, or has been stopped."""

    code = "not_started"
    status = 503
    title = "The service is starting or stopping."
    retry_after_seconds = 1


class DatabaseSetupError(TenancyError):
    """The server or a role is not set up for what is asked; the message says what to run."""

    code = "database_setup"
    exit_code = 4
    status = 503
    title = "The service is not ready."
    retry_after_seconds = 5


class PoolExhaustedError(TenancyError):
    """No connection became free within the acquire timeout."""

    code = "pool_exhausted"
    status = 503
    title = "The service is busy."
    retry_after_seconds = 1


class DatabaseUnavailableError(TenancyError):
    """The server cannot be reached, or the connection was lost before COMMIT: nothing was saved."""

    code = "database_unavailable"
    exit_code = 4
    status = 503
    title = "The service is temporarily unavailable."
    retry_after_seconds = 1


class TransactionFailedError(TenancyError):
    """A statement failed, its error was swallowed, and the server refused the COMMIT."""

    code = "transaction_failed"
    title = "The server failed to answer this request."


class ScopeBrokenError(TenancyError):
    """The block left its scope: its own COMMIT, another path or role, a task still running."""

    code = "scope_broken"


class StatementRefusedError(TenancyError):
    """A statement that level ``strict`` does not run; nothing of it was sent to the server."""

    code = "statement_refused"


class CommitConflictError(TenancyError):
    """A deferred constraint refused the COMMIT: nothing was saved."""

    code = "conflict"
    status = 409
    title = "The change conflicts with existing data."


class CommitUnknownError(TenancyError):
    """The connection was lost while COMMIT was on its way: saved or not, nobody knows yet."""

    code = "commit_unknown"
    status = 503
    title = "The outcome is unknown: the change may or may not have been saved."


class ShuttingDownError(TenancyError):
    """The server is stopping and cancelled the request before it committed anything."""

    code = "shutting_down"
    status = 503
    title = "The service is restarting; nothing was saved."
    retry_after_seconds = 1


# A tenant's life


class SlugTakenError(TenancyError):
    """Another tenant has this slug."""

    code = "slug_taken"
    exit_code = 6
    status = 409
    title = "This slug is taken."


class DomainTakenError(TenancyError):
    """Another tenant has this domain."""

    code = "domain_taken"
    exit_code = 6
    status = 409
    title = "This domain is taken."


# Migrations and the embedded server


class MigrationError(TenancyError):
    """A migration could not be read, or the fleet could not be migrated."""

    code = "migration_error"


class MigrationFileError(MigrationError):
    """A migration file, or the folder it is in, is not acceptable."""

    code = "migration_file"
    exit_code = 6


class MigrationRefusedError(MigrationError):
    """Applying would contradict what was applied before: a changed file, a gap, a wrong order."""

    code = "migration_refused"
    exit_code = 6


class EmbeddedServerError(TenancyError):
    """The embedded PostgreSQL cannot be started, reached or stopped."""

    code = "embedded_server"
    exit_code = 4
