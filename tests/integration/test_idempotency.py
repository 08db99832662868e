"""A request to make a tenant may be sent twice under one key; one tenant comes of it."""

import asyncio
import json

import pytest
from support.creations import audited, create, everything
from support.databases import Database, superuser
from support.processes import environment, run

from tenancy import provision
from tenancy.errors import (
    IdempotencyKeyUsedError,
    InvalidIdempotencyKeyError,
    SlugTakenError,
)
from tenancy.provision import Actor, Event, Hooks, Step


async def _age(database: Database, hours: int) -> None:
    async with superuser(database.superuser_url) as conn:
        await conn.execute(
            "UPDATE tenancy.idempotency_keys SET made_at = made_at - make_interval(hours => $1)",
            hours,
        )


async def test_the_same_request_returns_the_tenant_that_it_made(database: Database) -> None:
    settings = database.settings()
    first = await create(settings, "initech", "Notes.Initech.Example", key="k-1")
    before = await everything(database)
    assert await create(settings, "initech", "notes.initech.example.", key="k-1") == first
    assert await everything(database) == before
    assert (await audited(database))[:2] == [("create", "initech", "done")] * 2


async def test_another_request_under_the_key_is_refused_and_makes_nothing(
    database: Database,
) -> None:
    settings = database.settings()
    await create(settings, "initech", key="k-1")
    before = await everything(database)
    for slug, domains in (("hooli", ()), ("initech", ("notes.initech.example",))):
        with pytest.raises(IdempotencyKeyUsedError, match="another request") as caught:
            await create(settings, slug, *domains, key="k-1")
        assert caught.value.status == 409
        assert (await audited(database))[0] == ("create", slug, "refused")
    assert await everything(database) == before
    with pytest.raises(SlugTakenError):
        await create(settings, "initech", key="k-2")
    assert await everything(database) == before


async def test_of_many_at_once_one_makes_it_and_all_return_it(database: Database) -> None:
    settings = database.settings()
    calls: list[str] = []
    hooks = Hooks()

    @hooks.after(Step.CREATE)
    async def count(event: Event) -> None:
        calls.append(event.slug)

    async def one() -> provision.Profile:
        async with provision.administrator(settings, hooks=hooks) as admin:
            return await admin.create("initech", idempotency_key="k-1")

    made = await asyncio.gather(*(one() for _ in range(12)))
    assert all(profile == made[0] for profile in made)
    assert calls == ["initech"]
    async with superuser(database.superuser_url) as conn:
        rows = await conn.fetch("SELECT detail FROM tenancy.audit WHERE slug = 'initech'")
        unchanged = [json.loads(row["detail"]).get("unchanged", False) for row in rows]
    assert sorted(unchanged) == [False, *[True] * 11]


async def test_a_request_that_failed_binds_nobody(database: Database) -> None:
    settings = database.settings()
    with pytest.raises(SlugTakenError):
        await create(settings, "acme", key="k-1")
    assert (await create(settings, "initech", key="k-1")).tenant.slug == "initech"


async def test_it_is_the_tenant_as_it_is_now(database: Database) -> None:
    settings = database.settings()
    first = await create(settings, "initech", key="k-1")
    async with superuser(database.superuser_url) as conn:
        await conn.execute(
            "UPDATE tenancy.tenants SET slug = 'hooli', state = 'suspended' WHERE slug = 'initech'"
        )
    again = await create(settings, "initech", key="k-1")
    assert (again.tenant.id, again.tenant.slug) == (first.tenant.id, "hooli")
    async with superuser(database.superuser_url) as conn:
        await conn.execute("DELETE FROM tenancy.tenants WHERE slug = 'hooli'")
    with pytest.raises(IdempotencyKeyUsedError, match="is no more"):
        await create(settings, "initech", key="k-1")


async def test_nobody_meets_another_actors_keys(database: Database) -> None:
    async def by(name: str, slug: str) -> provision.Profile:
        actor = Actor(name, "127.0.0.1")
        async with provision.administrator(database.settings(), actor=actor) as admin:
            return await admin.create(slug, idempotency_key="k-1")

    first, second = await by("token-a", "initech"), await by("token-b", "hooli")
    assert first.tenant.id != second.tenant.id
    assert (await by("token-a", "initech")).tenant.id == first.tenant.id


async def test_a_key_is_forgotten_after_a_day(database: Database) -> None:
    settings = database.settings()
    await create(settings, "initech", key="k-1")
    await _age(database, 23)
    async with provision.administrator(settings) as admin:
        assert await admin.forget_keys() == 0
    assert (await create(settings, "initech", key="k-1")).tenant.slug == "initech"
    await _age(database, 2)
    with pytest.raises(SlugTakenError):
        await create(settings, "initech", key="k-1")
    assert (await create(settings, "hooli", key="k-1")).tenant.slug == "hooli"
    await _age(database, 25)
    async with provision.administrator(settings) as admin:
        assert await admin.forget_keys() == 1
    assert not [name for kind, name in await everything(database) if kind == "key"]


@pytest.mark.parametrize("key", ["", "a" * 256, "a\nb", "a\0b", "clé"])
async def test_a_key_that_is_none_makes_nothing(database: Database, key: str) -> None:
    before = await everything(database)
    with pytest.raises(InvalidIdempotencyKeyError):
        await create(database.settings(), "initech", key=key)
    assert await everything(database) == before
    longest = await create(database.settings(), "initech", key="a" * 255)
    assert await create(database.settings(), "initech", key="a" * 255) == longest


async def test_the_command_takes_a_key(database: Database) -> None:
    command = ("-m", "tenancy", "tenants", "create", "initech", "--json", "--idempotency-key", "k")
    env = environment(database.settings())
    first, again = await run(*command, env=env), await run(*command, env=env)
    assert first.code == again.code == 0, again.err
    assert first.out == again.out
