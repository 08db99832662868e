"""Every error tenancy raises, under one base.

The message says what happened, which value it was and what to do; it is for the log and the
terminal. Over HTTP only ``title`` and ``code`` leave the process, so that no message, SQL, DSN or
other tenant's name can reach a client (RFC 9457).
"""

from typing import ClassVar

import asyncpg


class TenancyError(Exception):
    """Base of all errors of this package.

    Attributes:
        code: stable machine-readable name, the ``code`` member of the problem document.
        status: HTTP status that answers a request which ends with this error.
        title: the only words a client sees.
        retry_after_seconds: sent as ``Retry-After`` where set.
        headers: further headers of the answer.
        exit_code: of a command that ends with this error; `exits.Exit` names them.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "The server failed to answer this request."
    retry_after_seconds: ClassVar[int | None] = None
    headers: tuple[tuple[str, str], ...] = ()
    exit_code: ClassVar[int] = 1

    @property
    def retryable(self) -> bool:
        """Whether the same job may succeed later and may simply run again: it has saved nothing.

        Of the transaction that raised it; what the job had committed before stays. Not so after an
        unknown COMMIT: who runs that again must look first.
        """
        return self.retry_after_seconds is not None


# Names and settings


class SettingsError(TenancyError):
    """The environment or a ``.env`` file does not describe a runnable service."""

    code = "invalid_settings"
    exit_code = 2


class InvalidIdentifierError(TenancyError, ValueError):
    """A schema or role name that PostgreSQL would not store exactly as written."""

    code = "invalid_identifier"


class InvalidVersionsError(TenancyError, ValueError):
    """A range of versions that cannot be read, or that no version is in."""

    code = "invalid_versions"
    exit_code = 2


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


class InvalidLimitError(TenancyError, ValueError):
    """A limit that no tenant can be given."""

    code = "invalid_limit"
    exit_code = 2
    status = 422
    title = "This limit cannot be set."


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


class NoTenantNamedError(TenancyError):
    """The request says nothing about its tenant where the resolver looks for it."""

    code = "no_tenant_named"
    status = 400
    title = "The request does not say which account it is for."


class MisdirectedHostError(NoTenantNamedError):
    """The host is well formed, but not one this service answers for (RFC 9110, section 15.5.20)."""

    code = "misdirected_request"
    status = 421
    title = "This service does not answer for that host."


class MalformedTenantError(TenancyError):
    """A source that may name the tenant does so twice, or in a form that no tenant's name has."""

    code = "malformed_tenant"
    status = 400
    title = "The account is named twice, or in a form that none has."


class UntrustedTenantError(TenancyError):
    """A header that must be signed is not, or its signature is wrong or too old."""

    code = "untrusted_tenant"
    status = 400
    title = "The signature of the account's name is not valid."


class ConflictingTenantsError(TenancyError):
    """Two sources of one request name two tenants."""

    code = "conflicting_tenants"
    status = 400
    title = "The request names two different accounts."


class MissingTokenError(NoTenantNamedError):
    """The request carries no bearer token, and needs one."""

    code = "missing_token"
    status = 401
    title = "This address needs a bearer token."
    headers = (("www-authenticate", "Bearer"),)


class InvalidTokenError(TenancyError):
    """The bearer token is not one of ours: signature, algorithm, audience, issuer or claim."""

    code = "invalid_token"
    status = 401
    title = "The bearer token is not valid."
    headers = (("www-authenticate", 'Bearer error="invalid_token"'),)


class ExpiredTokenError(TenancyError):
    """The bearer token was valid, and is so no longer."""

    code = "expired_token"
    status = 401
    title = "The bearer token has expired."
    headers = (("www-authenticate", 'Bearer error="invalid_token"'),)


class MissingExtraError(TenancyError, ImportError):
    """A package is not installed that comes with an extra of this one; the message names it."""

    code = "missing_extra"
    exit_code = 2


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

    @property
    def retryable(self) -> bool:
        """It may be active again by then."""
        return True


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


class MovedToPrimaryDomainError(TenancyError):
    """The tenant asks to be reached by its primary domain alone; an answer, not a failure."""

    code = "moved_to_primary_domain"
    status = 308
    title = "This account is at its own domain."


class RenamedTenantError(UnknownTenantError):
    """The tenant had this slug and has another now; an answer, not a failure."""

    code = "renamed_tenant"
    status = 308
    title = "This account has another name now."


class UnauthenticatedError(TenancyError):
    """Nobody is known on whose behalf the request comes, and the view needs to know."""

    code = "unauthenticated"
    status = 401
    title = "This address needs to know who you are."
    headers = (("www-authenticate", "Bearer"),)


class ForbiddenError(TenancyError):
    """`authorize` did not admit the principal to the tenant."""

    code = "forbidden"
    status = 403
    title = "You may not use this account."


class SessionOfAnotherTenantError(TenancyError):
    """The session that the client sent was made for another tenant."""

    code = "session_of_another_tenant"
    status = 403
    title = "This session belongs to another account."


class TenantVersionError(TenancyError):
    """The tenant's schema is at a checkpoint that this build does not serve."""

    code = "tenant_version"
    status = 503
    title = "This account is being upgraded."
    retry_after_seconds = 5


class RegistryBusyError(TenancyError):
    """Too many names that nobody here knows were asked for: this one was not looked up."""

    code = "registry_busy"
    status = 503
    title = "The service is busy."
    retry_after_seconds = 1


class NoTenantError(TenancyError):
    """A tenant's transaction was asked for where no tenant is being served."""

    code = "no_tenant"


class TenantMismatchError(TenancyError):
    """Code serving one tenant asked for a transaction of another."""

    code = "tenant_mismatch"


class NestedTransactionError(TenancyError):
    """A task that holds a tenant's transaction asked for a second one."""

    code = "nested_transaction"


# What outlives a request


class BlockEndedError(TenancyError, asyncpg.InterfaceError):  # type: ignore[misc]
    """A connection, or what was made of it, was used after its block had ended."""

    code = "block_ended"


class ConnectionBusyError(TenancyError, asyncpg.InterfaceError):  # type: ignore[misc]
    """Two tasks used one connection at the same time."""

    code = "connection_busy"


class OtherLoopError(TenancyError, RuntimeError):
    """The connections were used from another event loop than the one that opened them."""

    code = "other_event_loop"


class MissingEnvelopeError(TenancyError):
    """A job was run without the envelope that says for which tenant."""

    code = "missing_envelope"


class InvalidEnvelopeError(TenancyError, ValueError):
    """A job's envelope is none of ours, or its signature is wrong."""

    code = "invalid_envelope"


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


class TenantBusyError(TenancyError):
    """The tenant has as many requests at work as leaves room for others."""

    code = "tenant_busy"
    status = 503
    title = "This account has too many requests at work."
    retry_after_seconds = 1


class PoolExhaustedError(TenancyError):
    """No connection became free within the acquire timeout, or too many requests wait for one."""

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


class StepRefusedError(TenancyError):
    """A hook of the deployment does not allow a step of a tenant's life; raise it in one."""

    code = "step_refused"
    exit_code = 6
    status = 409
    title = "The rules of this service do not allow that."


class HookFailedError(TenancyError):
    """A hook of the deployment raised, so that its step was not done."""

    code = "hook_failed"
    exit_code = 3


class CommitUnknownError(TenancyError):
    """The connection was lost while COMMIT was on its way: saved or not, nobody knows yet."""

    code = "commit_unknown"
    exit_code = 4
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


class InvalidIdempotencyKeyError(TenancyError, ValueError):
    """A text that cannot be the key of a request."""

    code = "invalid_idempotency_key"
    exit_code = 2
    status = 400
    title = "This idempotency key cannot be used."


class IdempotencyKeyUsedError(TenancyError):
    """The key was sent with another request, or with one whose outcome is gone by now."""

    code = "idempotency_key_used"
    exit_code = 6
    status = 409
    title = "This idempotency key was used for another request."


class SchemaNameTakenError(TenancyError):
    """The name that chance gave a new schema is that of a schema or role that is there."""

    code = "schema_name_taken"
    exit_code = 75
    status = 503
    title = "Try again."
    retry_after_seconds = 1


class UnknownDomainError(TenancyError, LookupError):
    """The tenant has no such domain."""

    code = "unknown_domain"
    exit_code = 2
    status = 404
    title = "The account has no such domain."


class DomainUnverifiedError(TenancyError):
    """Nothing shows yet that the domain is the tenant's: its TXT record is not there."""

    code = "domain_unverified"
    exit_code = 5
    status = 409
    title = "The domain's TXT record does not hold the challenge yet."


class NameServerError(TenancyError):
    """No name server says what TXT record a domain has."""

    code = "name_server"
    exit_code = 4
    status = 503
    title = "The domain's name servers do not answer."
    retry_after_seconds = 30


class StateConflictError(TenancyError):
    """The tenant's state does not allow the step."""

    code = "state_conflict"
    exit_code = 6
    status = 409
    title = "The account's state does not allow this."


class InvalidGraceError(TenancyError, ValueError):
    """A time between deletion and purge that cannot be."""

    code = "invalid_grace"
    exit_code = 2
    status = 422
    title = "This period cannot be used."


class NotDeletedError(TenancyError):
    """Only a tenant that was deleted can be purged."""

    code = "not_deleted"
    exit_code = 6
    status = 409
    title = "This tenant has not been deleted."


class PurgeNotDueError(TenancyError):
    """The tenant can still be restored, and is not to be purged before its date."""

    code = "purge_not_due"
    exit_code = 6
    status = 409
    title = "This tenant may not be purged yet."


class PurgeBegunError(TenancyError):
    """The tenant's tables are being dropped: there is no way back."""

    code = "purge_begun"
    exit_code = 6
    status = 409
    title = "This tenant is being purged."


class SchemaSharedError(TenancyError):
    """Something outside of a tenant's schema is made of it, and would be dropped with it."""

    code = "schema_shared"
    exit_code = 6
    status = 409
    title = "Something else depends on this tenant's schema."


class SchemaInUseError(TenancyError):
    """Somebody holds locks on a tenant's tables for longer than there is patience; names them."""

    code = "schema_in_use"
    exit_code = 75
    status = 503
    title = "This tenant's tables are in use."
    retry_after_seconds = 60


class MaintenanceError(TenancyError):
    """A task of the maintenance did a part of what it found to do; names the rest."""

    code = "maintenance"
    exit_code = 3


class ArchiveError(TenancyError):
    """An exported tenant cannot be read: it is not one, is damaged, or was edited."""

    code = "archive"
    exit_code = 6


class NotPortableError(TenancyError):
    """A tenant cannot be taken along as it is, or not be made here from what was taken along."""

    code = "not_portable"
    exit_code = 6


class MoveError(TenancyError):
    """A tenant cannot be moved as asked; the message says where it is, and what to do."""

    code = "move"
    exit_code = 6


# Reports over all tenants


class InvalidReportError(TenancyError, ValueError):
    """A report that cannot be made: its name, table, columns or reader."""

    code = "invalid_report"
    exit_code = 2
    status = 422
    title = "This report cannot be made."


class ReportExistsError(TenancyError):
    """Another report has the name."""

    code = "report_exists"
    exit_code = 6
    status = 409
    title = "There is a report of this name."


class UnknownReportError(TenancyError, LookupError):
    """No report has the name."""

    code = "unknown_report"
    exit_code = 2
    status = 404
    title = "There is no such report."


class ReportTooLargeError(TenancyError):
    """The server has no room for the locks of one query of the report; says how many."""

    code = "report_too_large"
    exit_code = 4
    status = 409
    title = "The server has no room for this report."


class ReportDependedOnError(TenancyError):
    """Another view depends on the report as it is."""

    code = "report_depended_on"
    exit_code = 6
    status = 409
    title = "Another view depends on this report."


class ReportInUseError(TenancyError):
    """Somebody reads the report, or changes its tables."""

    code = "report_in_use"
    exit_code = 75
    status = 503
    title = "This report is in use."
    retry_after_seconds = 5


# Migrations and the embedded server


class MigrationError(TenancyError):
    """A migration could not be read, or the fleet could not be migrated."""

    code = "migration_error"


class MigrationFileError(MigrationError):
    """A migration file, or the folder it is in, is not acceptable."""

    code = "migration_file"
    exit_code = 6


class UnknownVersionError(MigrationError, LookupError):
    """No migration file has the version that was asked for."""

    code = "unknown_version"
    exit_code = 2


class MigrationRefusedError(MigrationError):
    """Applying would contradict what was applied before: a changed file, a gap, a wrong order."""

    code = "migration_refused"
    exit_code = 6
    status = 503
    title = "The service is not ready."


class MigrationsPendingError(MigrationError):
    """The database is behind the files of this process, which was told to wait."""

    code = "migrations_pending"
    status = 503
    title = "The service is not ready."
    exit_code = 5


class EmbeddedServerError(TenancyError):
    """The embedded PostgreSQL cannot be started, reached or stopped."""

    code = "embedded_server"
    exit_code = 4


# The leak check


class LeakcheckError(TenancyError):
    """A leak check could not be run; nothing is said about the application's tenants."""

    code = "leakcheck"
    exit_code = 4


class LeakFoundError(TenancyError):
    """Something of one tenant reached another in a leak check; the message is its report."""

    code = "leak_found"
    exit_code = 7


class NothingCheckedError(TenancyError):
    """A leak check found nothing, because nothing or too little could be checked."""

    code = "nothing_checked"
    exit_code = 8


# The operator's API


class InvalidTokenRequestError(TenancyError, ValueError):
    """A token that cannot be made: its name, its scopes or its time."""

    code = "invalid_token_request"
    exit_code = 2
    status = 422
    title = "This token cannot be made."


class TokenNameTakenError(TenancyError):
    """A token that is still good has this name."""

    code = "token_name_taken"
    exit_code = 6
    status = 409
    title = "This name is taken."


class UnknownTokenError(TenancyError, LookupError):
    """No token has this name, or it is revoked already."""

    code = "unknown_token"
    exit_code = 2
    status = 404
    title = "There is no such token."


class InsufficientScopeError(TenancyError):
    """The bearer token is good, and not for this (RFC 6750, section 3.1)."""

    code = "insufficient_scope"
    status = 403
    title = "The bearer token does not allow this."


class PreconditionRequiredError(TenancyError):
    """A change was asked for without saying of which state of things (RFC 6585, section 3)."""

    code = "precondition_required"
    status = 428
    title = "Send If-Match with the ETag that you have read."


class PreconditionFailedError(TenancyError):
    """What is to be changed is not as it was when it was read (RFC 9110, section 13.1.1)."""

    code = "precondition_failed"
    exit_code = 6
    status = 412
    title = "It has been changed meanwhile: read it again."


class TooManyRequestsError(TenancyError):
    """A token or an address has sent more requests than it may."""

    code = "too_many_requests"
    status = 429
    title = "Too many requests: come back later."
