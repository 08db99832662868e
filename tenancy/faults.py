"""What the driver's errors mean: a connection that is gone, a login that is refused."""

import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from tenancy.errors import DatabaseSetupError, DatabaseUnavailableError, SettingsError

# A server or a network that went away, as opposed to one that answered.
LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.TooManyConnectionsError,
    OSError,  # TimeoutError is one
)

# The server says why to its log; the driver does not tell what it was told between statements.
LOST_BEFORE_COMMIT = (
    "the connection was lost before COMMIT: nothing was saved; the server ends it too if the block "
    "is idle for longer than TENANCY_IDLE_IN_TRANSACTION_TIMEOUT_SECONDS"
)

# What stands after the ? of an address, and the driver passes on.
_UNKNOWN_OPTION = (
    asyncpg.UndefinedObjectError,
    asyncpg.InvalidParameterValueError,
    asyncpg.CantChangeRuntimeParamError,
)
_QUOTED_NAME = re.compile(r'parameter "([A-Za-z_][A-Za-z0-9_.]*)"')

_REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)


@contextmanager
def connecting(variable: str) -> Iterator[None]:
    """Raise our errors for those of connecting to the address in the setting *variable*.

    Raises:
        SettingsError: the address cannot be read, or holds an option that the server refuses.
        DatabaseSetupError: the server refuses the login or has no such database.
        DatabaseUnavailableError: the server does not answer.
    """
    try:
        yield
    except (asyncpg.ClientConfigurationError, ValueError):
        # Neither the error nor its cause is passed on: they hold parts of the address.
        raise SettingsError(
            f"{variable} cannot be read: write postgresql://user:password@host:port/database, "
            "with % codes for special characters in the password"
        ) from None
    except _UNKNOWN_OPTION as error:
        named = _QUOTED_NAME.search(reason(error))
        raise SettingsError(
            f"the server does not take the option {named[1] if named else 'given'} of {variable}, "
            "or its value: see what stands after the ? of the address (sslmode is one)"
        ) from error
    except _REFUSED as error:
        raise DatabaseSetupError(
            f"the database refuses this login, or has no such database: check {variable}, and "
            "GRANT CONNECT ON DATABASE"
        ) from error
    except asyncpg.ProtocolViolationError as error:
        if "unsupported startup parameter" not in str(error):
            raise _unanswered(error, variable) from error
        raise DatabaseSetupError(
            f"{variable} leads to a connection pooler: requests need TENANCY_POOLER=transaction, "
            "migrations and provisioning an address of PostgreSQL itself"
        ) from error
    except LOST as error:
        raise _unanswered(error, variable) from error


def _unanswered(error: Exception, variable: str) -> DatabaseUnavailableError:
    return DatabaseUnavailableError(
        f"the database does not answer ({reason(error)}): see whether it runs, and where "
        f"{variable} points"
    )


def reason(error: Exception) -> str:
    """Return what went wrong in words that hold no address and no row."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.args[0])  # str() adds DETAIL, which holds rows
    if isinstance(error, socket.gaierror):
        return f"{error.strerror}: is the host name right?"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {getattr(error, 'verify_message', '') or error.reason or 'it failed'}"
    if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
        return "the server refuses TLS, which sslmode in the address asks for"  # the driver's words
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return type(error).__name__


@contextmanager
def reading_catalog() -> Iterator[None]:
    """Raise DatabaseSetupError where the block misses a table of the catalog."""
    try:
        yield
    except asyncpg.UndefinedTableError as error:
        if 'relation "tenancy.' not in reason(error):
            raise
        raise DatabaseSetupError(
            "the catalog is not there yet, or is too old: run `python -m tenancy.migrate`"
        ) from error
