"""For your own tests: a pytest fixture that runs the leak check.

Installed, it is a plug-in of pytest's. Tests must be able to await (pytest-asyncio, anyio)::

    async def test_no_tenant_sees_another(leakcheck):
        report = await leakcheck("myapp:create_app()")
        report.raise_for_leaks()
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tenancy.leakcheck import Report

Leakcheck = Callable[..., Awaitable["Report"]]


@pytest.fixture(scope="session")
def leakcheck_server() -> Iterator[str]:
    """Address of the PostgreSQL that leak checks make their databases on.

    An embedded one, started when a test first asks for it. Override this fixture to use another.
    """
    from tenancy.leakcheck import server  # noqa: PLC0415 - pytest loads this module for everybody

    with server() as url:
        yield url


@pytest.fixture
def leakcheck(leakcheck_server: str) -> Leakcheck:
    """Awaited, run an application as two canary tenants.

    ``report = await leakcheck(app, **options)``

    *app* is an ASGI application, a function that makes one, or ``module:expression``; the options
    are the fields of `tenancy.leakcheck.Options`. Returns a `tenancy.leakcheck.Report`.
    """

    async def check(app: Any, **options: Any) -> "Report":  # noqa: ANN401
        from tenancy import leakcheck as product  # noqa: PLC0415 - as above

        return await product.check(
            app, replace(product.Options(), **options), server=leakcheck_server
        )

    return check
