"""The commands that change a tenant, against two running workers of hypercorn.

Their times to live are an hour, so that only NOTIFY explains that they have heard. The times are
printed: what is promised is less than a second.
"""

import asyncio
import json
from typing import Any

import pytest
from support.changes import execute
from support.databases import Database
from support.nameserver import name_server
from support.processes import Result, environment, run
from support.workers import Worker, seen, served

from tenancy import provision
from tenancy.exits import Exit
from tenancy.settings import Settings

pytestmark = pytest.mark.timeout(180)

ACME = "acme.example.com"
READ = ("/notes", "GET")
WRITE = ("/notes", "POST", {"body": "x"})


async def tenants(settings: Settings, *arguments: str) -> Result:
    """Run ``python -m tenancy tenants`` as an operator does."""
    return await run("-m", "tenancy", "tenants", *arguments, env=environment(settings))


async def well(settings: Settings, *arguments: str) -> Any:
    result = await tenants(settings, *arguments, "--json")
    assert result.code == 0, result.err
    return json.loads(result.out)


async def test_each_command_is_heard_by_every_worker(database: Database) -> None:
    async with name_server() as zone, served(database) as workers:
        own = database.settings(dns_servers=(zone.address,))
        for command, answers in {
            "suspend": ((READ, 403), (WRITE, 403)),
            "read-only": ((READ, 200), (WRITE, 403)),
            "resume": ((WRITE, 201), (READ, 200)),
        }.items():
            await well(own, command, "acme", "--reason", "a test")
            for request, status in answers:
                await seen(workers, ACME, status, f"{command}: {request[1]}", *request)
        await well(own, "rename", "acme", "acme-corp")
        await seen(workers, "acme-corp.example.com", 200, "rename: new", *READ)
        await seen(workers, ACME, 308, "rename: old", *READ)
        claim = await well(own, "domains", "add", "acme-corp", "notes.acme.test")
        zone.records[claim["record_name"]] = [claim["challenge"]]
        await seen(workers, "notes.acme.test", 421, "domains add", *READ)
        await well(own, "domains", "verify", "acme-corp", "notes.acme.test")
        await seen(workers, "notes.acme.test", 200, "domains verify", *READ)
        await well(own, "domains", "remove", "acme-corp", "notes.acme.test")
        await seen(workers, "notes.acme.test", 421, "domains remove", *READ)


async def test_a_change_is_seen_soon_after_it_was_asked_for(database: Database) -> None:
    """From the call on, its transaction included; not asserted, for machines are busy."""
    async with served(database) as workers, provision.administrator(database.settings()) as admin:
        slug = "acme"
        for n in range(5):
            for step, status in ((admin.suspend, 403), (admin.resume, 200)):
                host = f"{slug}.example.com"
                waiting = asyncio.create_task(seen(workers, host, status, step.__name__, *READ))
                await step(slug)
                await waiting
            renamed = f"acme-{n}"
            waiting = asyncio.create_task(
                seen(workers, f"{renamed}.example.com", 200, "rename", *READ)
            )
            await admin.rename(slug, renamed)
            await waiting
            slug = renamed


ANSWERS = {
    "active": ((200, None), (201, None)),
    "read_only": ((200, None), (403, "tenant_read_only")),
    "suspended": ((403, "tenant_suspended"),) * 2,
    "provisioning": ((503, "tenant_not_ready"),) * 2,
    "deleting": ((404, "unknown_tenant"),) * 2,
}


async def test_each_state_has_its_answer_and_says_nothing_more(database: Database) -> None:
    async with served(database) as workers:
        for state, answers in ANSWERS.items():
            await execute(
                database, f"UPDATE tenancy.tenants SET state = '{state}' WHERE slug = 'acme'"
            )
            for request, (status, code) in zip((READ, WRITE), answers, strict=True):
                await seen(workers, ACME, status, f"{state}: {request[1]}", *request)
                for worker in workers:
                    await _answers(worker, request, status, code)
        # As if there had never been one.
        gone = [(await worker.ask(host, *READ)) for worker in workers for host in (ACME, NOBODY)]
        assert len({(status, json.dumps(body)) for status, _, body in gone}) == 1


NOBODY = "nobody.example.com"


async def _answers(worker: Worker, request: Any, status: int, code: str | None) -> None:
    answered, headers, body = await worker.ask(ACME, *request)
    assert answered == status
    assert ("retry-after" in headers) is (status == 503)
    if code is not None:
        assert headers["content-type"] == "application/problem+json"
        assert body["code"] == code
        assert "acme" not in json.dumps(body)
    assert (await worker.ask("globex.example.com", *READ))[0] == 200


async def test_what_the_commands_say(database: Database) -> None:
    async with name_server() as zone:
        own = database.settings(dns_servers=(zone.address,))
        added = await tenants(own, "domains", "add", "acme", "Notes.Acme.test")
        challenge = added.out.split('"')[1]
        assert "_tenancy-challenge.notes.acme.test." in added.out
        assert "tenants domains verify acme notes.acme.test" in added.out
        early, listed, *_ = await asyncio.gather(
            tenants(own, "domains", "verify", "acme", "notes.acme.test"),
            tenants(own, "domains", "list", "acme"),
            tenants(own, "domains", "add", "globex", "notes.acme.test"),
            tenants(own, "domains", "add", "acme", "other.acme.test", "--verified"),
        )
        assert early.code == Exit.PENDING
        assert challenge in early.err
        assert challenge in listed.out
        zone.records["_tenancy-challenge.notes.acme.test"] = [challenge]
        profile = await well(own, "domains", "verify", "acme", "notes.acme.test")
        assert profile["domains"] == ["other.acme.test", "notes.acme.test"]
        profile = await well(own, "domains", "primary", "acme", "notes.acme.test")
        assert profile["domains"] == ["notes.acme.test", "other.acme.test"]
        failed = await asyncio.gather(
            tenants(own, "domains", "verify", "globex", "notes.acme.test"),
            tenants(own, "domains", "primary", "globex", "notes.acme.test"),
            tenants(own, "domains", "remove", "globex", "none.acme.test"),
            tenants(own, "rename", "acme", "globex"),
            tenants(own, "rename", "acme", "www"),
            tenants(own, "suspend", "nobody"),
        )
        codes = [Exit.REFUSED, Exit.PENDING, Exit.USAGE, Exit.REFUSED, Exit.USAGE, Exit.USAGE]
        assert [result.code for result in failed] == codes
        for result in failed:
            assert result.err.startswith("tenancy: ")
            assert len(result.err.splitlines()) == 1
        renamed = await well(own, "rename", "acme", "acme-corp", "--no-redirect")
        assert renamed["former_slugs"] == []
