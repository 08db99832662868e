"""A renamed tenant keeps all it has; its former slug leads to its new one, and to nothing else."""

import asyncio
import itertools
import random
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from support.changes import execute, until
from support.databases import Database, superuser
from support.notes import read, write
from support.redirects import asked, fronts

from tenancy import (
    KeyKind,
    Tenancy,
    TenantKey,
    by_header,
    by_host,
    by_path,
    by_subdomain,
    chain,
    provision,
)
from tenancy.errors import InvalidSlugError, SlugTakenError, UnknownTenantError

HOST = by_host("example.com", "example.org")


async def rename(database: Database, *names: str, redirect: bool = True) -> provision.Profile:
    async with provision.administrator(database.settings()) as admin:
        for slug, to in itertools.pairwise(names):
            profile = await admin.rename(slug, to, redirect=redirect)
        return profile


async def test_a_rename_keeps_schema_role_and_rows(database: Database) -> None:
    settings = database.settings(pool_max_size=1)
    async with provision.administrator(settings) as admin, Tenancy(settings=settings) as tenancy:
        before = await admin.show("acme")
        await write(tenancy, "acme", "of acme")
        after = await admin.rename("acme", "acme-corp")
        assert after.tenant.schema == before.tenant.schema
        assert after.tenant.id == before.tenant.id
        assert (after.tenant.slug, after.former_slugs) == ("acme-corp", ("acme",))
        assert after.as_json()["former_slugs"] == ["acme"]
        tenancy.registry.forget()
        assert await read(tenancy, "acme-corp") == ["of acme"]
        for former in ("find", "transaction"):
            with pytest.raises(UnknownTenantError):
                if former == "find":
                    await tenancy.find("acme")
                async with tenancy.transaction("acme"):
                    pass


async def test_a_job_from_before_a_rename_is_done(database: Database) -> None:
    async with Tenancy(settings=database.settings()) as tenancy:

        @tenancy.task
        async def job() -> str:
            return tenancy.tenant.slug

        async with tenancy.serving("acme"):
            envelope = tenancy.envelope()
        await rename(database, "acme", "new")
        tenancy.registry.forget()
        assert await job(envelope=envelope) == "new"  # type: ignore[call-arg]


async def test_a_slug_that_is_taken_or_none_is_refused(database: Database) -> None:
    async with provision.administrator(database.settings()) as admin:
        for to in ("", "A", "www", "pg-x", "a" * 49):
            with pytest.raises(InvalidSlugError):
                await admin.rename("acme", to)
        with pytest.raises(SlugTakenError, match="'globex'"):
            await admin.rename("acme", "globex")
        with pytest.raises(UnknownTenantError):
            await admin.rename("nobody", "somebody")
        before = await admin.show("acme")
        assert await admin.rename("acme", "acme") == before
        longest = await admin.rename("acme", "a" * 48)
        assert await admin.rename("a" * 48, "acme") != longest


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("host", "path", "query", "location"),
    [
        ("acme.example.com", "/notes", b"", "//new.example.com/notes"),
        (
            "ACME.Example.com.:8000",
            "/a%2Fb",
            b"a=1&b=%2F",
            "//new.example.com:8000/a%2Fb?a=1&b=%2F",
        ),
        ("acme.example.org", "/", b"", "//new.example.org/"),
        ("older.example.org", "/x", b"", "//new.example.org/x"),
        ("acme.example.com", "//evil.example/x", b"", "//new.example.com//evil.example/x"),
        ("acme.example.com", "/\\evil.example", b"", "//new.example.com/%5Cevil.example"),
        ("acme.example.com", "/é\r\nx: y", b"\r\n", "//new.example.com/%C3%A9%0D%0Ax:%20y?%0D%0A"),
        ("acme.example.com", "http://evil.example/x", b"", "//new.example.com/"),
    ],
)
async def test_the_host_of_a_former_slug_leads_to_that_of_the_present_one(  # noqa: PLR0913, PLR0917
    database: Database, host: str, path: str, query: bytes, location: str, method: str
) -> None:
    await rename(database, "acme", "older", "acme", "new")
    async with fronts(database) as make:
        front = make(HOST)
        assert await asked(front, host, path, method, query_string=query) == (308, location)
        there = location.removeprefix("//").partition("/")[0]
        assert await asked(front, there) == (200, "new")


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/t/acme", "/t/new"),
        ("/t/acme/", "/t/new/"),
        ("/t/acme/t/acme?x", "/t/new/t/acme"),
        ("/t/acme//evil.example", "/t/new//evil.example"),
        ("/t/acme/a%2Fb", "/t/new/a%2Fb"),
    ],
)
async def test_the_path_of_a_former_slug_leads_to_that_of_the_present_one(
    database: Database, path: str, location: str
) -> None:
    await rename(database, "acme", "new")
    async with fronts(database) as make:
        front = make(by_path())
        assert await asked(front, "example.com", path) == (308, location)
        mounted = await asked(front, "example.com", f"/app{path}", root_path="/app")
        assert mounted == (308, f"/app{location}")
        assert await asked(make(by_path("")), "example.com", path.removeprefix("/t")) == (
            308,
            location.removeprefix("/t"),
        )


async def test_with_a_primary_domain_it_leads_there_at_once(database: Database) -> None:
    async with provision.administrator(database.settings()) as admin:
        await admin.add_domain("acme", "notes.acme.test", verified=True)
    await rename(database, "acme", "new")
    async with fronts(database) as make:
        assert await asked(make(HOST, redirect_to_primary=True), "acme.example.com:81", "/x") == (
            308,
            "//notes.acme.test:81/x",
        )
        assert await asked(make(HOST), "acme.example.com") == (308, "//new.example.com/")


async def test_what_is_no_address_is_unknown(database: Database) -> None:
    await rename(database, "acme", "new")
    header = [(b"x-tenant", b"acme")]
    by_name = by_header("X-Tenant", trusted=["127.0.0.1"])
    async with fronts(database) as make:
        front = make(by_name)
        assert await asked(front, "example.com", headers=header) == (404, "unknown_tenant")
        websocket: Any = {"type": "websocket", "extensions": {"websocket.http.response": {}}}
        assert await asked(make(HOST), "acme.example.com", **websocket) == (404, "unknown_tenant")
        off = make(HOST, redirect_former_slugs=False)
        assert await asked(off, "acme.example.com") == (404, "unknown_tenant")
        # All that a request says must lead to one tenant, by way of its former slug too.
        both = make(chain(by_name, by_subdomain("example.com")))
        for name, answer in (
            (b"new", (308, "//new.example.com/")),
            (b"globex", (400, "conflicting_tenants")),
            (b"acme", (404, "unknown_tenant")),
        ):
            said = await asked(both, "acme.example.com", headers=[(b"x-tenant", name)])
            assert said == answer


@pytest.mark.parametrize(
    ("state", "answer"),
    [
        ("active", (308, "//new.example.com/")),
        ("suspended", (308, "//new.example.com/")),
        ("deleting", (404, "unknown_tenant")),
    ],
)
async def test_a_former_slug_of_a_tenant_that_is_gone_is_nobodys(
    database: Database, state: str, answer: tuple[int, str]
) -> None:
    await rename(database, "acme", "new")
    await execute(database, f"UPDATE tenancy.tenants SET state = '{state}' WHERE slug = 'new'")
    async with fronts(database) as make:
        assert await asked(make(HOST), "acme.example.com") == answer


async def test_without_a_redirect_the_slug_is_nobodys(database: Database) -> None:
    profile = await rename(database, "acme", "new", redirect=False)
    assert profile.former_slugs == ()
    async with fronts(database) as make:
        assert await asked(make(HOST), "acme.example.com") == (404, "unknown_tenant")


async def test_who_takes_a_former_slug_gets_a_schema_of_its_own_and_the_address(
    database: Database,
) -> None:
    old = await rename(database, "acme", "new")
    async with fronts(database) as make, provision.administrator(database.settings()) as admin:
        assert await asked(make(HOST), "acme.example.com") == (308, "//new.example.com/")
        taker = await admin.create("acme")
        assert taker.tenant.schema != old.tenant.schema
        assert (await admin.show("new")).former_slugs == ()
        assert await asked(make(HOST), "acme.example.com") == (200, "acme")
        # By a rename too; and what is its own again is no former one.
        await admin.rename("acme", "other")
        assert (await admin.show("other")).former_slugs == ("acme",)
        assert (await admin.rename("globex", "acme")).former_slugs == ("globex",)
        assert (await admin.show("other")).former_slugs == ()
        assert (await admin.rename("acme", "globex")).former_slugs == ("acme",)


@pytest.mark.parametrize(
    "known", [{}, {"registry_max_entries": 1}, {"registry_listen": False}], ids=str
)
async def test_a_redirect_is_known_however_the_registry_is_read(
    database: Database, known: dict[str, object]
) -> None:
    await rename(database, "acme", "new")
    async with fronts(database, **known) as make:
        front = make(HOST)
        for _ in range(2):
            assert await asked(front, "acme.example.com") == (308, "//new.example.com/")
            assert await asked(front, "new.example.com") == (200, "new")
            assert await asked(front, "nobody.example.com") == (404, "unknown_tenant")


async def test_no_resolver_opens_a_schema_by_a_former_slug(database: Database) -> None:
    await rename(database, "acme", "new")
    key = TenantKey(KeyKind.FORMER_SLUG, "acme")
    async with fronts(database) as make:
        assert await asked(make(lambda _: key), "example.com") == (404, "unknown_tenant")
        named = by_header("X-Tenant", trusted=["127.0.0.1"], kind=KeyKind.FORMER_SLUG)
        header = [(b"x-tenant", b"acme")]
        assert await asked(make(named), "example.com", headers=header) == (400, "malformed_tenant")


async def test_one_of_many_gets_a_slug_that_all_want(database: Database) -> None:
    async def take(slug: str) -> object:
        async with provision.administrator(database.settings()) as admin:
            try:
                return (await admin.rename(slug, "wanted")).tenant.slug
            except SlugTakenError as error:
                return type(error)

    async with provision.administrator(database.settings()) as admin:
        await admin.create("initech")
    slugs = ("acme", "globex", "initech")
    assert sorted(map(str, await asyncio.gather(*map(take, slugs)))) == sorted(
        map(str, ("wanted", SlugTakenError, SlugTakenError))
    )


async def test_tenants_that_trade_their_slugs_do_not_wait_for_each_other(
    database: Database, seed: int
) -> None:
    """Each wants what another had, or is made with it: no deadlock, and no slug is two tenants'."""
    names = [f"n{number}" for number in range(5)]
    rng = random.Random(seed)

    async def trade(tenant: object) -> None:
        async with (
            provision.administrator(database.settings()) as admin,
            superuser(database.superuser_url) as conn,
        ):
            for _ in range(20):
                slug = await conn.fetchval("SELECT slug FROM tenancy.tenants WHERE id = $1", tenant)
                with suppress(SlugTakenError, UnknownTenantError):  # somebody was faster
                    await admin.rename(slug, rng.choice(names))

    async def make() -> None:
        async with superuser(database.superuser_url) as conn:
            for _ in range(20):
                with suppress(asyncpg.UniqueViolationError):
                    await conn.execute(_MAKE, rng.choice(names), f"t_{rng.getrandbits(60)}")
                await conn.execute("DELETE FROM tenancy.tenants WHERE state = 'provisioning'")

    ids = await _ids(database)
    await asyncio.gather(*map(trade, ids * 2), make(), make())
    async with superuser(database.superuser_url) as conn:
        doubles = await conn.fetch(
            "SELECT name, count(*) FROM (SELECT slug FROM tenancy.tenants UNION ALL "
            "SELECT unnest(former_slugs) FROM tenancy.tenants) AS named (name) "
            "GROUP BY name HAVING count(*) > 1"
        )
        assert not doubles
        assert not await conn.fetchval(
            "SELECT count(*) FROM tenancy.audit WHERE outcome = 'failed'"
        )


async def test_a_tenant_made_while_its_slug_is_left_takes_it_whole(database: Database) -> None:
    """Its former owner has not committed yet, and so does not show that it was one."""
    async with (
        superuser(database.superuser_url) as leaving,
        superuser(database.superuser_url) as taking,
    ):
        async with leaving.transaction():
            await leaving.execute(
                "UPDATE tenancy.tenants SET slug = 'new', former_slugs = '{acme}' "
                "WHERE slug = 'acme'"
            )
            made = asyncio.create_task(taking.execute(_MAKE, "acme", "t_taker"))
            await until(lambda: _waits(leaving))
        await made
        assert not await taking.fetchval(
            "SELECT count(*) FROM tenancy.tenants WHERE 'acme' = ANY (former_slugs)"
        )


_MAKE = "INSERT INTO tenancy.tenants (slug, schema_name) VALUES ($1, $2)"


async def _waits(conn: asyncpg.Connection) -> bool:
    return bool(await conn.fetchval("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"))


async def _ids(database: Database) -> list[object]:
    async with superuser(database.superuser_url) as conn:
        return [row["id"] for row in await conn.fetch("SELECT id FROM tenancy.tenants")]


async def test_who_waits_for_a_slug_takes_its_redirect_too(database: Database) -> None:
    """The one who waits has looked for the redirect before the other's rename was committed."""
    settings = database.settings()
    async with provision.administrator(settings) as one, provision.administrator(settings) as two:
        renaming = one.connection.transaction()
        await renaming.start()
        await one.rename("acme", "new")
        creating = asyncio.create_task(two.create("acme"))
        waiter = two.connection.get_server_pid()
        async with superuser(database.superuser_url) as conn:

            async def waits() -> bool:
                blockers = await conn.fetchval("SELECT pg_blocking_pids($1)", waiter)
                return bool(blockers)

            await until(waits)
        await renaming.commit()
        taker = await creating
        assert (await one.show("new")).former_slugs == ()
        # So what the taker is called next is where its own clients are led.
        await one.rename("acme", "taker")
        assert (await one.show("taker")).tenant.id == taker.tenant.id
    async with fronts(database) as make:
        assert await asked(make(HOST), "acme.example.com") == (308, "//taker.example.com/")


async def test_a_slug_taken_by_hand_is_nobodys_former_one_either(database: Database) -> None:
    await rename(database, "acme", "new")
    async with superuser(database.superuser_url) as conn:
        await conn.execute("UPDATE tenancy.tenants SET slug = 'acme' WHERE slug = 'globex'")
        assert await conn.fetchval("SELECT bool_and(former_slugs = '{}') FROM tenancy.tenants")


async def test_an_older_catalog_is_told_to_be_migrated(database: Database) -> None:
    await execute(database, "ALTER TABLE tenancy.tenants DROP COLUMN former_slugs CASCADE")
    with pytest.raises(Exception, match=r"tenancy\.migrate"):
        async with Tenancy(settings=database.settings(registry_listen=False)):
            pass


async def test_who_asks_for_a_former_slug_is_told_the_new_one(database: Database) -> None:
    async with provision.administrator(database.settings()) as admin:
        await admin.rename("acme", "acme-corp")
        for asked in (admin.show("acme"), admin.suspend("acme")):
            with pytest.raises(UnknownTenantError, match="is called 'acme-corp' now"):
                await asked
        with pytest.raises(UnknownTenantError, match=r"the slug 'nobody'$"):
            await admin.show("nobody")
