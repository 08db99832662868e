"""G1 outside of requests: jobs with their envelopes, and scripts."""

import asyncio
import functools
import inspect
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from pydantic import SecretStr
from quart import Quart
from support.asgi import call
from support.databases import Database, Open
from support.notes import read

from tenancy import Envelope, Tenancy, TenancyError
from tenancy.errors import (
    InvalidEnvelopeError,
    MissingEnvelopeError,
    NoTenantError,
    TenantMismatchError,
    TenantNotReadyError,
    TenantSuspendedError,
    UnknownTenantError,
)
from tenancy.tenant import serving

INSERT = "INSERT INTO notes (body) VALUES ($1)"


async def _enveloped(tenancy: Tenancy, slug: str) -> Envelope:
    """What a request of this tenant would enqueue, after its way through a queue."""
    with serving(await tenancy.find(slug)):
        envelope: Envelope = json.loads(json.dumps(tenancy.envelope()))
    return envelope


async def test_a_job_runs_for_the_tenant_that_enqueued_it(tenancy: Tenancy) -> None:
    @tenancy.task
    async def note(body: str) -> str:
        async with tenancy.transaction() as conn:
            await conn.execute(INSERT, body)
        return tenancy.tenant.slug

    queued: Callable[..., Awaitable[str]] = note
    for slug in ("acme", "globex"):
        envelope = await _enveloped(tenancy, slug)
        assert await queued("by name", envelope=envelope) == slug
        assert await queued(body="by keyword", envelope=envelope) == slug
        assert await read(tenancy, slug) == ["by name", "by keyword"]
    with pytest.raises(NoTenantError):
        _ = tenancy.tenant


async def test_a_job_that_wants_its_envelope_takes_it(tenancy: Tenancy) -> None:
    @tenancy.task
    async def first(envelope: Envelope, n: int) -> tuple[str, int]:
        assert envelope == tenancy.envelope()
        return tenancy.tenant.slug, n

    @tenancy.task
    async def named(ctx: object, n: int, *, envelope: Envelope | None = None) -> tuple[str, int]:
        assert (ctx, envelope) == (None, tenancy.envelope())
        return tenancy.tenant.slug, n

    # mypy holds that the signatures are kept.
    typed: Callable[[Envelope, int], Coroutine[Any, Any, tuple[str, int]]] = first
    envelope = await _enveloped(tenancy, "acme")
    assert await typed(envelope, 1) == ("acme", 1)
    assert await first(n=2, envelope=envelope) == ("acme", 2)
    assert await named(None, 3, envelope=envelope) == ("acme", 3)
    with pytest.raises(MissingEnvelopeError):
        await named(None, 4)


async def test_a_method_is_a_job_as_well(tenancy: Tenancy) -> None:
    class Reports:
        title = "report"

        @tenancy.task
        async def make(self, n: int) -> str:
            return f"{self.title} {n} {tenancy.tenant.slug}"

        @classmethod
        @tenancy.task
        async def of_class(cls) -> str:
            return f"{cls.title} {tenancy.tenant.slug}"

        @staticmethod
        @tenancy.task
        async def static(**more: int) -> str:
            return f"{more} {tenancy.tenant.slug}"

    envelope = await _enveloped(tenancy, "acme")
    made: Any = Reports()
    assert await made.make(1, envelope=envelope) == "report 1 acme"
    assert await made.of_class(envelope=envelope) == "report acme"
    assert await made.static(a=1, envelope=envelope) == "{'a': 1} acme"


def test_a_queue_that_looks_at_a_job_sees_what_it_takes() -> None:
    tenancy = Tenancy()

    @tenancy.task
    async def send(to: str, *, copies: int = 1, **more: object) -> None:
        """Send it."""

    assert inspect.iscoroutinefunction(send)
    assert (send.__name__, send.__doc__, send.__module__) == ("send", "Send it.", __name__)
    signature = inspect.signature(send)
    assert list(signature.parameters) == ["to", "copies", "envelope", "more"]
    assert signature.parameters["envelope"].kind is inspect.Parameter.KEYWORD_ONLY

    def blocking() -> None: ...

    with pytest.raises(TypeError, match="async"):
        tenancy.task(blocking)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("envelope", "error"),
    [
        (None, MissingEnvelopeError),
        ("acme", InvalidEnvelopeError),
        ({}, InvalidEnvelopeError),
        ({"version": 2, "tenant": str(uuid4())}, InvalidEnvelopeError),
        ({"version": 1, "tenant": "acme"}, InvalidEnvelopeError),
        ({"version": 1, "tenant": str(uuid4())}, UnknownTenantError),
    ],
)
async def test_a_job_without_a_good_envelope_does_not_begin(
    tenancy: Tenancy, envelope: object, error: type[TenancyError]
) -> None:
    begun = False

    @tenancy.task
    async def job() -> None:
        nonlocal begun
        begun = True

    queued: Callable[..., Awaitable[None]] = job
    with pytest.raises(error) as caught:
        await queued(envelope=envelope)
    assert not caught.value.retryable
    with pytest.raises(MissingEnvelopeError, match=r"envelope=tenancy\.envelope"):
        await job()
    with serving(await tenancy.find("acme")):
        with pytest.raises(MissingEnvelopeError):  # nor for the tenant that happens to be there
            await job()
    assert not begun


@pytest.mark.parametrize(
    ("state", "error", "retryable"),
    [
        ("suspended", TenantSuspendedError, True),
        ("provisioning", TenantNotReadyError, True),
        ("deleting", UnknownTenantError, False),
    ],
)
async def test_a_job_asks_for_its_tenants_state_again(
    open_tenancy: Open,
    owner: asyncpg.Connection,
    state: str,
    error: type[TenancyError],
    retryable: bool,
) -> None:
    begun = False

    async with open_tenancy(registry_ttl_seconds=0.01) as tenancy:

        @tenancy.task
        async def job(seconds: float = 0) -> None:
            nonlocal begun
            begun = True
            await asyncio.sleep(seconds)
            async with tenancy.transaction():
                pass

        queued: Callable[..., Awaitable[None]] = job
        envelope = await _enveloped(tenancy, "acme")
        running = asyncio.ensure_future(queued(0.2, envelope=envelope))
        await asyncio.sleep(0.05)
        await owner.execute("UPDATE tenancy.tenants SET state = $1 WHERE slug = 'acme'", state)
        with pytest.raises(error):  # at its next transaction
            await running
        begun = False
        with pytest.raises(error) as caught:
            await queued(envelope=envelope)
        assert not begun
        assert caught.value.retryable is retryable


async def test_a_renamed_tenants_jobs_are_still_its_own(
    tenancy: Tenancy, owner: asyncpg.Connection
) -> None:
    """Another tenant may have got the old slug meanwhile."""
    envelope = await _enveloped(tenancy, "acme")
    schema = (await tenancy.find("acme")).schema
    await owner.execute(
        "UPDATE tenancy.tenants SET slug = 'old' WHERE slug = 'acme';"
        "UPDATE tenancy.tenants SET slug = 'acme' WHERE slug = 'globex'"
    )
    tenancy.registry.forget()

    @tenancy.task
    async def job() -> str:
        async with tenancy.transaction() as conn:
            return str(await conn.fetchval("SELECT current_schema"))

    queued: Callable[..., Awaitable[str]] = job
    assert await queued(envelope=envelope) == schema


async def test_jobs_of_many_tenants_run_beside_each_other_in_one_worker(
    open_tenancy: Open,
) -> None:
    async with open_tenancy(pool_max_size=2) as tenancy:

        @tenancy.task
        async def job(n: int) -> tuple[str, str]:
            await asyncio.sleep(n % 3 / 1000)
            async with tenancy.transaction() as conn:
                role = await conn.fetchval("SELECT current_user::text")
                await conn.execute(INSERT, f"{tenancy.tenant.slug} {n}")
            await asyncio.sleep(0)
            return tenancy.tenant.slug, role

        queued: Callable[..., Awaitable[tuple[str, str]]] = job
        envelopes = [await _enveloped(tenancy, slug) for slug in ("acme", "globex")]
        done = await asyncio.gather(*(queued(n, envelope=envelopes[n % 2]) for n in range(60)))
        for n, (slug, role) in enumerate(done):
            assert slug == ("acme", "globex")[n % 2]
            assert role == (await tenancy.find(slug)).schema
        for slug in ("acme", "globex"):
            bodies = await read(tenancy, slug)
            assert len(bodies) == 30
            assert all(body.startswith(slug) for body in bodies)


async def test_a_job_holds_no_connection(tenancy: Tenancy) -> None:
    """Ten are in the middle of their work, with a pool of one."""
    middle = asyncio.Barrier(10)

    @tenancy.task
    async def job() -> int:
        async with tenancy.transaction() as conn:
            one: int = await conn.fetchval("SELECT 1")
        await middle.wait()
        assert tenancy.pool.idle == tenancy.pool.size
        return one

    queued: Callable[..., Awaitable[int]] = job
    envelopes = [await _enveloped(tenancy, slug) for slug in ("acme", "globex")] * 5
    async with asyncio.timeout(10):
        assert await asyncio.gather(*(queued(envelope=e) for e in envelopes)) == [1] * 10


async def test_a_signed_envelope_is_asked_for_where_a_key_is_set(open_tenancy: Open) -> None:
    keys = tuple(SecretStr(letter * 32) for letter in "ab")
    async with (
        open_tenancy() as unsigned,
        open_tenancy(envelope_keys=keys[:1]) as old,
        open_tenancy(envelope_keys=keys[::-1]) as rotated,
    ):

        def job(tenancy: Tenancy) -> Callable[..., Awaitable[str]]:
            @tenancy.task
            async def whose() -> str:
                return tenancy.tenant.slug

            return whose

        envelope = await _enveloped(old, "acme")
        assert await job(old)(envelope=envelope) == "acme"
        assert await job(rotated)(envelope=envelope) == "acme"
        other = str((await old.find("globex")).id)
        for forged in ({**envelope, "tenant": other}, await _enveloped(unsigned, "acme")):
            with pytest.raises(InvalidEnvelopeError):
                await job(old)(envelope=forged)
        with pytest.raises(InvalidEnvelopeError):  # workers learn of a new key first
            await job(old)(envelope=await _enveloped(rotated, "acme"))


async def test_a_request_runs_a_job_of_its_own_tenant_alone(tenancy: Tenancy) -> None:
    app = Quart(__name__)
    tenancy.init_app(app)

    @tenancy.task
    async def job(body: str) -> None:
        async with tenancy.transaction() as conn:
            await conn.execute(INSERT, body)

    queued: Callable[..., Awaitable[None]] = job
    others = await _enveloped(tenancy, "globex")

    @app.get("/")
    async def view() -> str:
        await queued("at once", envelope=tenancy.envelope())
        with pytest.raises(TenantMismatchError):
            await queued("never", envelope=others)
        with pytest.raises(TenantMismatchError):
            tenancy.envelope(await tenancy.find("globex"))
        return "ok"

    assert (await call(app, [(b"host", b"acme.example.com")])).status == 200
    assert await read(tenancy, "acme") == ["at once"]
    assert await read(tenancy, "globex") == []


async def test_a_failed_job_leaves_nobody_being_served(tenancy: Tenancy) -> None:
    @tenancy.task
    async def job() -> None:
        async with tenancy.transaction() as conn:
            await conn.execute(INSERT, "half done")
            _ = 1 / 0

    queued: Callable[..., Awaitable[None]] = job
    with pytest.raises(ZeroDivisionError):
        await queued(envelope=await _enveloped(tenancy, "acme"))
    with pytest.raises(NoTenantError):
        _ = tenancy.tenant
    assert await read(tenancy, "acme") == []


async def test_a_script_serves_a_tenant_for_code_that_relies_on_it(
    tenancy: Tenancy, owner: asyncpg.Connection
) -> None:
    async def library() -> str:
        async with tenancy.transaction() as conn:
            await conn.execute(INSERT, tenancy.tenant.slug)
        return tenancy.tenant.slug

    for slug in ("acme", "globex"):
        async with tenancy.serving(slug) as served:
            assert served.slug == await library() == slug
            assert await asyncio.create_task(library()) == slug
            async with tenancy.serving(served):  # as a library may, too
                assert await library() == slug
            assert tenancy.envelope()["tenant"] == str(served.id)
            with pytest.raises(TenantMismatchError):
                async with tenancy.serving("globex" if slug == "acme" else "acme"):
                    pass
        with pytest.raises(NoTenantError):
            await library()
        assert await read(tenancy, slug) == [slug] * 3
    with pytest.raises(UnknownTenantError):
        async with tenancy.serving("nobody"):
            pass
    await owner.execute("UPDATE tenancy.tenants SET state = 'suspended'")
    tenancy.registry.forget()
    with pytest.raises(TenantSuspendedError):
        async with tenancy.serving(served):
            pass


async def test_a_command_may_start_it_again_in_another_loop(database: Database) -> None:
    tenancy = Tenancy(settings=database.settings())

    async def main() -> str:
        async with tenancy, tenancy.serving("acme"), tenancy.transaction() as conn:
            return str(await conn.fetchval("SELECT current_schema"))

    schemas = {await asyncio.to_thread(asyncio.run, main()) for _ in range(2)}
    assert [schema[:6] for schema in schemas] == ["t_acme"]


async def test_a_generator_may_end_in_another_context_than_it_began(tenancy: Tenancy) -> None:
    """As fixtures and abandoned streams do."""

    async def rows() -> Any:
        async with tenancy.serving("acme"):
            yield tenancy.tenant.slug
            yield "never"

    generator = rows()
    assert await asyncio.create_task(anext(generator)) == "acme"
    await asyncio.create_task(generator.aclose())
    with pytest.raises(NoTenantError):
        _ = tenancy.tenant


async def test_a_wrapped_job_is_a_job(tenancy: Tenancy) -> None:
    def twice(function: Any) -> Any:
        @functools.wraps(function)
        async def run(*args: Any, **kwargs: Any) -> list[Any]:
            return [await function(*args, **kwargs) for _ in range(2)]

        return run

    @twice
    @tenancy.task
    @twice
    async def job(n: int) -> tuple[int, str]:
        return n, tenancy.tenant.slug

    assert await job(1, envelope=await _enveloped(tenancy, "acme")) == [[(1, "acme")] * 2] * 2
