"""A list is read page by page, and whatever is looked for is found in it."""

import random

import asyncpg
from support.databases import Database

from tenancy import provision
from tenancy.provision import Profile
from tenancy.tenant import State

MANY = 60
WORDS = ["a", "-", "once-", "shop", "www.", "%", "_", "1", "ACME", " b "]

# Names that a list in the server's own order and one in ours would tell apart.
_ENTER = """
    INSERT INTO tenancy.tenants (slug, schema_name, state, former_slugs)
    SELECT slug, 't_page_' || n, state, former FROM unnest($1::text[], $2::text[]) WITH ORDINALITY
        AS given (slug, state, n), LATERAL (SELECT CASE WHEN n % 7 = 0
            THEN ARRAY['once-' || slug] ELSE '{}'::text[] END AS former) f
"""
_DOMAINS = """
    INSERT INTO tenancy.domains (name, tenant_id, is_primary, verified_at)
    SELECT prefix || slug || '.shop.example', id, prefix = '', now()
    FROM tenancy.tenants, unnest(ARRAY['', 'www.']) AS prefix WHERE schema_name ~ '[05]$'
"""


async def _fill(database: Database) -> None:
    slugs = [f"{'abc'[n % 3]}{'-' * (n % 2)}{n}" for n in range(MANY)]
    states = [list(State)[n % len(State)] for n in range(MANY)]
    conn = await asyncpg.connect(database.admin_url)
    try:
        await conn.execute(_ENTER, slugs, states)
        await conn.execute(_DOMAINS)
    finally:
        await conn.close()


def _is_wanted(profile: Profile, states: set[State], word: str | None) -> bool:
    word = word.strip().lower() if word else None
    names = (profile.tenant.slug, *profile.former_slugs, *profile.domains)
    found = word is None or word == str(profile.tenant.id) or any(word in name for name in names)
    return found and (not states or profile.tenant.state in states)


async def test_pages_make_up_what_is_wanted_of_the_list(database: Database, seed: int) -> None:
    await _fill(database)
    chance = random.Random(seed)
    async with provision.administrator(database.settings()) as admin:
        everybody = await admin.list()
        assert len(everybody) == MANY + 2
        words = [None, *WORDS, str(everybody[5].tenant.id)]
        found = 0
        for word in words * 3:
            states = set(chance.sample(list(State), chance.randrange(3)))
            size = chance.randint(1, 20)
            read: list[Profile] = []
            while page := await admin.page(
                states=states,
                search=word,
                after=read[-1].tenant.slug if read else None,
                limit=size,
            ):
                assert len(page) <= size
                read += page
            assert read == [one for one in everybody if _is_wanted(one, states, word)]
            found += len(read)
        assert found


async def test_a_tenant_made_or_gone_between_two_pages_moves_no_other(database: Database) -> None:
    await _fill(database)
    async with provision.administrator(database.settings()) as admin:
        everybody = await admin.list()
        first = await admin.page(limit=10)
        await admin.connection.execute(
            "DELETE FROM tenancy.tenants WHERE slug = ANY($1)",
            [first[0].tenant.slug, first[-1].tenant.slug],
        )
        await admin.create("aaa-first")
        second = await admin.page(after=first[-1].tenant.slug, limit=10)
    assert first + second == everybody[:20]
