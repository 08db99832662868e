"""Custom domains: whoever shows first that one is his has it, and nobody else is served by it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import dns.rcode
import pytest
from support.databases import Database, superuser
from support.nameserver import NameServer, name_server
from support.redirects import asked, fronts

from tenancy import by_host, provision
from tenancy.errors import (
    DomainTakenError,
    DomainUnverifiedError,
    InvalidDomainError,
    NameServerError,
    TenancyError,
    UnknownDomainError,
    UnknownTenantError,
)
from tenancy.provision import Administrator, Domain, challenges

NAME = "notes.acme.test"
RECORD = f"_tenancy-challenge.{NAME}"
HOST = by_host("example.com")


@pytest.fixture
async def zone() -> AsyncIterator[NameServer]:
    async with name_server() as server:
        yield server


def office(
    database: Database, zone: NameServer, **options: Any
) -> AbstractAsyncContextManager[Administrator]:
    return provision.administrator(database.settings(dns_servers=(zone.address,), **options))


async def served(database: Database, host: str = NAME) -> tuple[int, str]:
    async with fronts(database) as make:
        return await asked(make(HOST), host)


async def test_a_domain_is_served_from_when_its_record_holds_its_challenge(
    database: Database, zone: NameServer
) -> None:
    async with office(database, zone) as admin:
        domain = await admin.add_domain("acme", "Notes.ACME.test.")
        assert (domain.name, domain.verified_at, domain.is_primary) == (NAME, None, False)
        assert domain.record_name == RECORD
        assert domain.challenge
        assert (await admin.show("acme")).domains == ()
        assert await served(database) == (421, "misdirected_request")
        for texts, found in ((None, "nothing"), (["no"], "something else")):
            if texts:
                zone.records[RECORD] = texts
            with pytest.raises(DomainUnverifiedError, match=f"{domain.challenge}.*{found}"):
                await admin.verify_domain("acme", NAME)
        zone.records[RECORD] = ["v=spf1", domain.challenge]
        assert (await admin.verify_domain("acme", NAME.upper())).domains == (NAME,)
        assert await served(database) == (200, "acme")
        zone.asked.clear()
        assert (await admin.verify_domain("acme", NAME)).domains == (NAME,)
        assert not zone.asked
        (verified,) = await admin.domains("acme")
        assert verified.is_primary
        assert verified.as_json()["verified_at"]


async def test_a_challenge_is_asked_for_by_alias_in_pieces_and_by_tcp(
    database: Database, zone: NameServer
) -> None:
    async with office(database, zone) as admin:
        challenge = str((await admin.add_domain("acme", NAME)).challenge)
        zone.aliases[RECORD] = "acme.hosting.test."
        pieces = f'"{challenge[:9]}" "{challenge[9:]}"'
        zone.records["acme.hosting.test"] = [pieces, *(f'"{n:0200}"' for n in range(9))]
        await admin.verify_domain("acme", NAME)
        assert zone.asked.count(RECORD) == 2  # truncated at first


async def test_another_tenants_challenge_shows_nothing(
    database: Database, zone: NameServer
) -> None:
    async with office(database, zone) as admin:
        theirs = await admin.add_domain("globex", NAME)
        mine = await admin.add_domain("acme", NAME)
        other = await admin.add_domain("acme", "other.acme.test")
        assert len({theirs.challenge, mine.challenge, other.challenge}) == 3
        zone.records[RECORD] = [str(theirs.challenge), str(other.challenge)]
        with pytest.raises(DomainUnverifiedError):
            await admin.verify_domain("acme", NAME)


async def test_a_claim_keeps_a_domain_from_nobody_and_the_first_to_show_it_has_it(
    database: Database, zone: NameServer
) -> None:
    async with office(database, zone) as admin:
        await admin.add_domain("globex", NAME)
        mine = await admin.add_domain("acme", NAME)
        zone.records[RECORD] = [str(mine.challenge)]
        await admin.verify_domain("acme", NAME)
        with pytest.raises(DomainTakenError) as told:
            await admin.verify_domain("globex", NAME)
        assert "acme" not in str(told.value).replace(NAME, "")
        assert [domain.verified_at for domain in await admin.domains("globex")] == [None]
        # Until the first one has it no more.
        await admin.remove_domain("acme", NAME)
        zone.records[RECORD] = [str((await admin.domains("globex"))[0].challenge)]
        await admin.verify_domain("globex", NAME)
        assert await served(database) == (200, "globex")
        for verified in (False, True):
            with pytest.raises(DomainTakenError):
                await admin.add_domain("acme", NAME, verified=verified)
        with pytest.raises(DomainTakenError):
            await admin.create("initech", [NAME])


async def test_of_tenants_that_race_for_a_domain_one_has_it(
    database: Database, zone: NameServer
) -> None:
    slugs = ("acme", "globex", "initech", "umbrella")
    async with office(database, zone) as admin:
        for slug in slugs[2:]:
            await admin.create(slug)
        zone.records[RECORD] = [
            str((await admin.add_domain(slug, NAME)).challenge) for slug in slugs
        ]

    async def race(slug: str, *, vouched: bool) -> object:
        async with office(database, zone) as admin:
            try:
                if vouched:
                    return (await admin.add_domain(slug, NAME, verified=True)).name
                return (await admin.verify_domain(slug, NAME)).tenant.slug
            except DomainTakenError as error:
                return type(error)

    ends = await asyncio.gather(
        *(race(slug, vouched=slug == "umbrella") for slug in slugs), race("acme", vouched=False)
    )
    async with superuser(database.superuser_url) as conn:
        owners = await conn.fetch(
            "SELECT t.slug FROM tenancy.domains d JOIN tenancy.tenants t ON t.id = d.tenant_id "
            "WHERE d.verified_at IS NOT NULL"
        )
    assert len(owners) == 1
    winner = owners[0]["slug"]
    for slug, end in zip((*slugs, "acme"), ends, strict=True):
        assert (end is DomainTakenError) is (slug != winner)


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.FORMERR])
async def test_name_servers_that_fail_decide_nothing(
    database: Database, zone: NameServer, rcode: dns.rcode.Rcode
) -> None:
    zone.rcode = rcode
    async with office(database, zone) as admin:
        await admin.add_domain("acme", NAME)
        with pytest.raises(NameServerError, match="TENANCY_DNS_SERVERS"):
            await admin.verify_domain("acme", NAME)
    async with superuser(database.superuser_url) as conn:
        row = await conn.fetchrow(
            "SELECT outcome, code FROM tenancy.audit ORDER BY id DESC LIMIT 1"
        )
        assert tuple(row) == ("failed", "name_server")


async def test_a_silent_name_server_holds_no_lock(
    database: Database, zone: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone.silent = True
    async with office(database, zone) as admin, office(database, zone) as other:
        await admin.add_domain("acme", NAME)
        asking = asyncio.create_task(admin.verify_domain("acme", NAME))
        async with asyncio.timeout(30):
            await zone.reached.wait()
        await other.suspend("acme")
        assert not asking.done()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        monkeypatch.setattr(challenges, "LOOKUP_SECONDS", 0.2)
        with pytest.raises(NameServerError):
            await other.verify_domain("acme", NAME)


async def test_adding_again_changes_nothing_and_vouching_serves_at_once(
    database: Database, zone: NameServer
) -> None:
    async with office(database, zone) as admin:
        first = await admin.add_domain("acme", NAME)
        before = await admin.show("acme")
        assert await admin.add_domain("acme", NAME) == first
        assert await admin.show("acme") == before
        vouched = await admin.add_domain("acme", NAME, verified=True)
        assert vouched.verified_at is not None
        assert vouched.challenge is None
        assert await admin.add_domain("acme", NAME) == vouched
        assert await served(database) == (200, "acme")
        assert not zone.asked


async def test_one_domain_is_primary_and_it_is_one_that_is_served(
    database: Database, zone: NameServer
) -> None:
    async with office(database, zone) as admin:
        await admin.add_domain("acme", "waits.acme.test")
        for name in ("a.acme.test", "b.acme.test", "c.acme.test"):
            await admin.add_domain("acme", name, verified=True)
        assert (await admin.show("acme")).domains[0] == "a.acme.test"
        profile = await admin.make_primary("acme", "B.acme.test")
        assert profile.domains == ("b.acme.test", "a.acme.test", "c.acme.test")
        assert await admin.make_primary("acme", "b.acme.test") == profile
        with pytest.raises(DomainUnverifiedError):
            await admin.make_primary("acme", "waits.acme.test")
        async with fronts(database, redirect_to_primary=True) as make:
            assert await asked(make(HOST), "c.acme.test") == (308, "//b.acme.test/")
        assert [d.is_primary for d in await admin.domains("acme")].count(True) == 1
        # None follows one that is gone; the next one that is shown does.
        assert (await admin.remove_domain("acme", "b.acme.test")).domains[0] == "a.acme.test"
        assert not any(d.is_primary for d in await admin.domains("acme"))
        await admin.add_domain("acme", "d.acme.test", verified=True)
        assert (await admin.show("acme")).domains[0] == "d.acme.test"


async def test_a_removed_domain_is_served_no_more(database: Database, zone: NameServer) -> None:
    async with office(database, zone) as admin:
        await admin.add_domain("acme", NAME, verified=True)
        assert await served(database) == (200, "acme")
        assert (await admin.remove_domain("acme", f"{NAME}.")).domains == ()
        assert await served(database) == (421, "misdirected_request")
        for step in (admin.remove_domain, admin.make_primary, admin.verify_domain):
            with pytest.raises(UnknownDomainError, match=NAME):
                await step("acme", NAME)
            with pytest.raises(UnknownTenantError):
                await step("nobody", NAME)
        with pytest.raises(UnknownTenantError):
            await admin.domains("nobody")


@pytest.mark.parametrize(
    "name",
    [
        "", "acme", "localhost", "10.0.0.1", "*.acme.test", "acme.test/x", "a b.test", "a_b.test",
        "example.com", "x.example.com", "ops.acme.test", "xn--a.test", "xn--\u00fc.test",
        "a" * 64 + ".test", "\u200b.test", "-a.test", "a..test", f"{'a.' * 118}test",
    ],
)  # fmt: skip
async def test_what_can_be_no_tenants_domain_is_refused(
    database: Database, zone: NameServer, name: str
) -> None:
    async with office(database, zone, operator_hosts=("ops.acme.test",)) as admin:
        with pytest.raises(InvalidDomainError):
            await admin.add_domain("acme", name)


async def test_a_domain_outside_ascii_is_found_by_the_host_that_a_browser_sends(
    database: Database, zone: NameServer
) -> None:
    async with office(database, zone) as admin:
        added: list[Domain] = [
            await admin.add_domain("acme", name, verified=True)
            for name in (
                "BÜCHER.example",
                "bücher.example",
                "xn--bcher-kva.example",
                "straße。test",
            )
        ]
        names = ["xn--bcher-kva.example"] * 3 + ["xn--strae-oqa.test"]
        assert [domain.name for domain in added] == names
        for host in names:
            assert await served(database, host) == (200, "acme")
        await admin.remove_domain("acme", "Bücher.Example")
        with pytest.raises(DomainTakenError):
            await admin.create("initech", ["straße.test"])


async def test_the_audit_has_what_was_done_to_domains(database: Database, zone: NameServer) -> None:
    async with office(database, zone) as admin:
        await admin.add_domain("acme", NAME)
        for step in (admin.verify_domain, admin.make_primary, admin.remove_domain):
            try:
                await step("acme", NAME)
            except TenancyError:
                continue
    async with superuser(database.superuser_url) as conn:
        rows = await conn.fetch(
            "SELECT action, outcome, code, detail->>'domain' FROM tenancy.audit "
            "WHERE action LIKE '%domain' OR action = 'make_primary' ORDER BY id"
        )
    assert [tuple(row) for row in rows] == [
        ("add_domain", "done", None, NAME),
        ("verify_domain", "refused", "domain_unverified", NAME),
        ("make_primary", "refused", "domain_unverified", NAME),
        ("remove_domain", "done", None, NAME),
    ]
