"""From a request to its view: its host, its address, its token, what it may do."""

import logging
import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address

from quart import Quart, current_app, g, request
from werkzeug.datastructures import ETags

from tenancy import resolvers, tenant
from tenancy.admin import marks, rates
from tenancy.admin.authentication import Authentication, Caller
from tenancy.admin.rates import Rates
from tenancy.admin.stock import Stock
from tenancy.errors import (
    ExpiredTokenError,
    InsufficientScopeError,
    InvalidTokenError,
    MisdirectedHostError,
    MissingTokenError,
    NoTenantError,
    PreconditionRequiredError,
    TooManyRequestsError,
)
from tenancy.fairness.entrance import Ticket
from tenancy.provision import Actor, Administrator
from tenancy.provision.office import Office
from tenancy.settings import Settings
from tenancy.tenant import Tenant
from tenancy.web.asgi import Application, Front, Probe, Resolved, Scope

_log = logging.getLogger(__name__)

ADDRESS_SHARE = 5.0  # an address may be that of several tokens
WRONG_TOKEN_COST = 10.0  # in requests of the address

_EXTENSION = "tenancy.admin"


def door(app: Application, settings: Settings, probes: Mapping[str, Probe]) -> Front:
    """Return *app* as it answers at the operator's hosts alone, and so at none that is a tenant's.

    ``TENANCY_OPERATOR_HOSTS``, any address, and localhost; *probes* answer at any host.
    """
    hosts = {"localhost", *settings.operator_hosts}

    async def resolve(scope: Scope) -> Resolved:
        host = resolvers.host(scope)
        if host not in hosts and not _is_address(host):
            raise MisdirectedHostError(
                f"{host!r} is not the operator's: reach the API by an address, or name the host in "
                "TENANCY_OPERATOR_HOSTS"
            )
        return Resolved(operator=True)

    return Front(app, resolve, enter=_no_tenants, operator=app, probes=probes)


class Gate:
    """Lets a request through to its view if who sends it may use that.

    Args:
        office: lends administrators.
        per_second: how many requests of one token; an address may send five times as many.

    Attributes:
        stock: of schemas made ahead.
    """

    def __init__(self, office: Office, per_second: float) -> None:
        self._office = office
        self.stock = Stock(office)
        self._authentication = Authentication(office)
        self._of_tokens = Rates(per_second)
        self._of_addresses = Rates(per_second * ADDRESS_SHARE)

    def attach(self, app: Quart) -> None:
        """Put the gate before each view of *app*."""
        app.extensions[_EXTENSION] = self
        app.before_request(self._admit)
        app.before_websocket(_refuse_websockets)
        app.after_serving(self._close)

    @property
    def office(self) -> Office:
        """What lends administrators."""
        return self._office

    async def _admit(self) -> None:
        serving = tenant.request()
        if serving is not None:  # by the front of another application
            serving.commit_sent = True  # where it is cancelled, nobody knows what was saved
        _refuse_early(self._of_addresses.take(_subscriber(), time.monotonic()))
        view = current_app.view_functions.get(request.endpoint or "")
        asked = marks.of(view)
        if asked is not None and asked.scope is None:
            return
        caller = g.caller = await self._recognized()
        if asked is None:
            if view is not None and request.method != "OPTIONS":
                raise InsufficientScopeError("the view says nothing about who may use it")
            return  # there is no such address: the framework says so
        if asked.scope not in caller.scopes:
            error = InsufficientScopeError(f"{caller.name} lacks the scope {asked.scope}")
            challenge = f'Bearer error="insufficient_scope", scope="{asked.scope}"'
            error.headers = (("www-authenticate", challenge),)
            raise error
        if asked.if_match and "If-Match" not in request.headers:
            raise PreconditionRequiredError("If-Match says which state of the tenant is meant")

    async def _close(self) -> None:
        await self.stock.close()
        await self._office.close()

    async def _recognized(self) -> Caller:
        try:
            caller = await self._authentication(request.scope, _address())  # type: ignore[arg-type]
        except (MissingTokenError, InvalidTokenError, ExpiredTokenError) as error:
            _log.warning("refused %s: %s", _address(), error)
            self._of_addresses.charge(_subscriber(), time.monotonic(), WRONG_TOKEN_COST)
            raise
        _refuse_early(self._of_tokens.take(caller.name, time.monotonic()))
        return caller


@asynccontextmanager
async def administrator() -> AsyncIterator[Administrator]:
    """Lend an administrator to this request: on behalf of who sent it, and as If-Match says.

    Raises:
        PoolExhaustedError, DatabaseUnavailableError, DatabaseSetupError: as `Office`.
    """
    caller: Caller = g.caller
    async with office().administrator(Actor(caller.name, _address())) as admin:
        with admin.matching(_expected()):
            yield admin


def office() -> Office:
    """Return what lends administrators to the application that runs this request."""
    return _gate().office


def stock() -> Stock:
    """Return the schemas made ahead that new tenants of this application take."""
    return _gate().stock


def _gate() -> Gate:
    gate: Gate = current_app.extensions[_EXTENSION]
    return gate


def _expected() -> frozenset[str] | None:
    """Return the strong tags of If-Match; None: any state will do."""
    if "If-Match" not in request.headers:
        return None
    tags: ETags = request.if_match
    return None if tags.star_tag else frozenset(tags.as_set())


def _refuse_early(seconds: float) -> None:
    if seconds:
        error = TooManyRequestsError(f"a request comes {seconds:.3f} seconds too early")
        error.headers = (("retry-after", str(math.ceil(seconds))),)
        raise error


def _subscriber() -> str:
    return rates.source(request.scope.get("client"))


def _address() -> str:
    client = request.scope.get("client")
    return str(client[0]) if client else "local"


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


async def _no_tenants(_: Tenant) -> Ticket:
    raise NoTenantError("no tenant is served here")


async def _refuse_websockets() -> None:
    raise InsufficientScopeError("the API has no websockets")
