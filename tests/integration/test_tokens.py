"""Tokens of the operator's API: shown once, good for a time, and for nothing in the catalog."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from support.databases import Database, superuser

from tenancy import provision
from tenancy.errors import (
    ExpiredTokenError,
    InvalidTokenError,
    InvalidTokenRequestError,
    TokenNameTakenError,
    UnknownTokenError,
)
from tenancy.provision.audit import Wanted
from tenancy.provision.tokens import PREFIX, Scope


async def test_a_token_is_recognized_and_its_use_is_noted(database: Database) -> None:
    async with provision.administrator(database.settings()) as admin:
        made, text = await admin.create_token("billing", [Scope.WRITE, Scope.READ], days=30)
        assert made.scopes == (Scope.READ, Scope.WRITE)
        assert made.state == "good"
        assert timedelta(29) < made.expires_at - datetime.now(UTC) <= timedelta(30)
        assert (await admin.recognized(text)).name == "billing"
        (listed,) = await admin.tokens()
        assert listed.last_used_at is not None
        await admin.recognized(text)
        assert (await admin.tokens()) == (listed,)  # to the minute: no row is written each time


async def test_the_catalog_holds_no_secret_and_requests_may_not_read_it(database: Database) -> None:
    async with provision.administrator(database.settings()) as admin:
        _, text = await admin.create_token("billing", [Scope.READ])
        await admin.recognized(text)
    secret = text.rpartition("_")[2]
    async with superuser(database.superuser_url) as conn:
        for table in ("tokens", "audit"):
            rows = await conn.fetch(f"SELECT t::text AS row FROM tenancy.{table} t")
            assert rows
            assert not any(secret in row["row"] for row in rows)
    conn = await asyncpg.connect(database.app_url)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.fetch("SELECT id FROM tenancy.tokens")
    finally:
        await conn.close()


async def test_what_is_no_token_is_not_recognized(database: Database) -> None:
    async with provision.administrator(database.settings()) as admin:
        _, text = await admin.create_token("billing", [Scope.READ])
        _, other = await admin.create_token("panel", [Scope.READ])
        token_id, secret = text.removeprefix(PREFIX).split("_")
        wrong = (
            *("", "x", PREFIX, text[:-1], f"{text}0", text.upper(), f" {text}", f"{text}\n"),
            f"{PREFIX}{token_id}_{'0' * 64}",
            f"{PREFIX}{'0' * 12}_{secret}",
            f"{PREFIX}{token_id}_{other.rpartition('_')[2]}",
            text.replace(secret, secret[:-1] + ("0" if secret[-1] != "0" else "1")),
        )
        for each in wrong:
            with pytest.raises(InvalidTokenError):
                await admin.recognized(each)


async def test_a_revoked_token_is_none_and_an_expired_one_was_one(database: Database) -> None:
    async with provision.administrator(database.settings()) as admin:
        _, text = await admin.create_token("billing", [Scope.READ])
        assert (await admin.revoke_token("billing")).state == "revoked"
        with pytest.raises(InvalidTokenError):
            await admin.recognized(text)
        with pytest.raises(UnknownTokenError):
            await admin.revoke_token("billing")
        made, text = await admin.create_token("billing", [Scope.READ], days=1)  # the name is free
        await admin.connection.execute(
            "UPDATE tenancy.tokens SET expires_at = now() WHERE id = $1", made.id
        )
        with pytest.raises(ExpiredTokenError):
            await admin.recognized(text)
        await admin.create_token("billing", [Scope.READ])  # and so it is after the end of one
        assert [token.state for token in await admin.tokens()] == ["good", "revoked", "revoked"]


async def test_of_two_that_want_a_name_one_has_it(database: Database) -> None:
    async def create() -> object:
        async with provision.administrator(database.settings()) as admin:
            try:
                return (await admin.create_token("billing", [Scope.READ]))[0].name
            except TokenNameTakenError as error:
                return type(error)

    made = await asyncio.gather(*(create() for _ in range(4)))
    assert sorted(made, key=str) == [*[TokenNameTakenError] * 3, "billing"]


@pytest.mark.parametrize("name", ["", "A", "-a", "a b", "a" * 64, "a\n", "ä"])
async def test_a_token_that_cannot_be_is_not_made(database: Database, name: str) -> None:
    async with provision.administrator(database.settings()) as admin:
        with pytest.raises(InvalidTokenRequestError):
            await admin.create_token(name, [Scope.READ])
        with pytest.raises(InvalidTokenRequestError):
            await admin.create_token("a", [])
        for days in (0, -1, 4000, float("nan")):
            with pytest.raises(InvalidTokenRequestError):
                await admin.create_token("a", [Scope.READ], days=days)
        assert await admin.tokens() == ()


async def test_the_audit_knows_who_made_and_revoked_which(database: Database) -> None:
    async with provision.administrator(database.settings()) as admin:
        made, _ = await admin.create_token("billing", [Scope.READ], days=7)
        await admin.revoke_token("billing")
        revoked, created = await admin.entries(Wanted(actor=admin.actor.name, limit=2))
    assert (created.action, revoked.action) == ("create_token", "revoke_token")
    assert (created.slug, created.tenant_id) == (None, None)
    assert created.detail == {"token": "billing", "id": made.id, "scopes": ["read"], "days": 7}
