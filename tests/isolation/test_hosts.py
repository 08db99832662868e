"""G2: the tenant comes from the host alone, and every host has exactly one answer."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.asgi import call
from support.hosts import FOREIGN, MALFORMED, TENANT, UNKNOWN

from tenancy import Tenancy
from tenancy.errors import MalformedHostError, MisdirectedHostError, UnknownTenantError
from tenancy.resolvers import KeyKind, TenantKey, by_host, by_subdomain, host
from tenancy.web.asgi import Front

ANSWERS = [
    *((value, 200) for value in TENANT),
    *((value, 400) for value in MALFORMED),
    *((value, 404) for value in UNKNOWN),
    *((value, 421) for value in FOREIGN),
]


async def _whose(_scope: Any, _receive: Any, send: Any, tenancy: Tenancy) -> None:
    slug = tenancy.tenant.slug.encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": slug})


@pytest.fixture
def front(tenancy: Tenancy) -> Front:
    return tenancy.middleware(lambda scope, receive, send: _whose(scope, receive, send, tenancy))


@pytest.mark.parametrize(("value", "status"), ANSWERS)
async def test_a_host_has_its_answer(front: Front, owner: Any, value: bytes, status: int) -> None:
    await owner.execute(
        "INSERT INTO tenancy.tenants (slug, schema_name, state) "
        "VALUES ('gone', 't_gone', 'deleting')"
    )
    answer = await call(front, [(b"host", value)])
    assert answer.status == status
    assert (answer.body == b"acme") is (status == 200)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"host", b"acme.example.com"), (b"host", b"globex.example.com")],
        [(b"host", b"acme.example.com"), (b"Host", b"acme.example.com")],
    ],
)
async def test_no_host_or_two_is_malformed(
    front: Front, headers: list[tuple[bytes, bytes]]
) -> None:
    assert (await call(front, headers)).status == 400


@pytest.mark.parametrize(
    "name",
    [b"x-forwarded-host", b"forwarded", b"x-host", b"x-original-host", b"x-tenant", b"x-tenant-id"],
)
async def test_forwarded_headers_of_strangers_are_ignored(front: Front, name: bytes) -> None:
    answer = await call(front, [(b"host", b"acme.example.com"), (name, b"host=globex.example.com")])
    assert (answer.status, answer.body) == (200, b"acme")


async def test_all_unknown_hosts_have_one_body(front: Front) -> None:
    bodies = {(await call(front, [(b"host", value)])).body for value in UNKNOWN}
    assert len(bodies) == 1
    assert b"example" not in bodies.pop()


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("active", 200),
        ("read_only", 200),
        ("suspended", 403),
        ("provisioning", 503),
        ("deleting", 404),
    ],
)
async def test_a_state_has_its_answer(
    front: Front, tenancy: Tenancy, owner: Any, state: str, status: int
) -> None:
    await owner.execute("UPDATE tenancy.tenants SET state = $1 WHERE slug = 'acme'", state)
    tenancy.registry.forget()
    answer = await call(front, [(b"host", b"acme.example.com")])
    assert answer.status == status
    assert (b"retry-after" in answer.headers) is (status == 503)


async def test_a_custom_domain_leads_to_its_tenant_once_verified(
    front: Front, tenancy: Tenancy, owner: Any
) -> None:
    await owner.execute(
        "INSERT INTO tenancy.domains (name, tenant_id, verified_at) "
        "SELECT name, id, CASE name WHEN 'notes.acme.test' THEN now() END FROM tenancy.tenants, "
        "unnest(ARRAY['notes.acme.test', 'unverified.acme.test']) AS name WHERE slug = 'acme'"
    )
    tenancy.registry.forget()
    assert (await call(front, [(b"host", b"Notes.Acme.Test.:8000")])).body == b"acme"
    assert (await call(front, [(b"host", b"unverified.acme.test")])).status == 421


def _resolved(value: bytes) -> object:
    try:
        return by_host("example.com")({"headers": [(b"host", value)]})
    except (MalformedHostError, MisdirectedHostError, UnknownTenantError) as error:
        return type(error)


@given(st.binary(max_size=300))
def test_any_bytes_have_an_answer(value: bytes) -> None:
    assert _resolved(value) is not None


@given(st.sampled_from(TENANT + UNKNOWN), st.integers(0, 2**32))
def test_a_mutated_host_is_read_or_refused(value: bytes, seed: int) -> None:
    rng = random.Random(seed)
    at = rng.randrange(len(value) + 1)
    _resolved(value[:at] + bytes([rng.randrange(256)]) + value[at + rng.randrange(2) :])


@given(st.from_regex(r"[a-z0-9-]{1,70}(\.[a-z0-9-]{1,70}){0,3}", fullmatch=True))
def test_a_host_that_is_read_is_a_name_of_dns(text: str) -> None:
    try:
        name = host({"headers": [(b"host", text.encode())]})
    except MalformedHostError:
        return
    assert name == text
    assert all(0 < len(label) < 64 and label.strip("-") == label for label in name.split("."))


def test_the_longest_base_domain_wins() -> None:
    resolve = by_subdomain("example.com", "eu.example.com")
    key = resolve({"headers": [(b"host", b"acme.eu.example.com")]})
    assert key == TenantKey(KeyKind.SLUG, "acme")
    with pytest.raises(MisdirectedHostError):
        resolve({"headers": [(b"host", b"eu.example.com")]})
