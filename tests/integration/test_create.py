"""The seeds that this kind of software fails on, when a tenant is made."""

import asyncio
import re
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from support.creations import APART, audited, create, everything, refill, with_files
from support.databases import PASSWORD, Database, superuser

from tenancy import Tenancy, identifiers, provision
from tenancy.errors import (
    DomainTakenError,
    HookFailedError,
    InvalidDomainError,
    InvalidSlugError,
    MigrationError,
    SchemaNameTakenError,
    SlugTakenError,
)
from tenancy.provision import Event, Hooks, Step

# As PostgreSQL keeps them: 63 bytes, capitals, blanks, quotes and hyphens.
ODD_TABLES = {
    "0002_odd.sql": f'CREATE TABLE "{"Ü" * 30}-" (id int);\nCREATE TABLE {"a" * 63} (id serial);\n'
    'CREATE TABLE "Mixed-Case ""Table" ("Column-1" int GENERATED ALWAYS AS IDENTITY);\n'
}


async def _write(database: Database, slug: str) -> None:
    async with Tenancy(settings=database.settings()) as tenancy, tenancy.transaction(slug) as conn:
        await conn.execute("INSERT INTO notes (body) VALUES ('x')")


@pytest.mark.parametrize("made_ahead", [False, True])
@pytest.mark.parametrize("slug", ["a", "a-b-c", "x--y", "a1-2", "a" * 48, f"a{'-b' * 23}c"])
async def test_hyphens_and_the_longest_slug_name_a_schema_that_works(
    database: Database, slug: str, *, made_ahead: bool
) -> None:
    if made_ahead:
        await refill(database.settings(), 1)
    profile = await create(database.settings(), slug)
    assert profile.tenant.schema == identifiers.identifier(profile.tenant.schema)
    await _write(database, slug)


@pytest.mark.parametrize(
    "slug", ["Acme", "ACME", "a" * 49, "a" * 63, "a" * 64, "-a", "a-", "ä", "1a"]
)
async def test_mixed_case_and_too_long_slugs_are_refused_and_not_changed(
    database: Database, slug: str
) -> None:
    before = await everything(database)
    with pytest.raises(InvalidSlugError):
        await create(database.settings(), slug)
    assert await everything(database) == before


async def test_slugs_that_only_hyphens_tell_apart_have_schemas_of_their_own(
    database: Database,
) -> None:
    made = [await create(database.settings(), slug) for slug in ("ab-c", "a-bc", "abc", "a-b-c")]
    assert len({profile.tenant.schema for profile in made}) == 4


async def test_domains_in_capitals_and_of_the_longest_labels_are_kept_as_dns_has_them(
    database: Database,
) -> None:
    longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    assert len(longest) == 253
    profile = await create(database.settings(), "initech", "WWW.Initech.Example.", longest)
    assert set(profile.domains) == {"www.initech.example", longest}
    for name in (f"{'a' * 64}.example", f"e{longest}"):
        with pytest.raises(InvalidDomainError):
            await create(database.settings(), "hooli", name)


async def test_tables_with_mixed_case_and_63_bytes_are_made_and_open(
    database: Database, tmp_path: Path
) -> None:
    settings = database.settings(sql_dir=with_files(tmp_path, ODD_TABLES))
    await refill(settings, 1)
    for slug in ("initech", "hooli"):  # the second one is built
        await create(settings, slug)
        async with Tenancy(settings=settings) as tenancy, tenancy.transaction(slug) as conn:
            await conn.execute('INSERT INTO "Mixed-Case ""Table" DEFAULT VALUES')
            await conn.execute(f"INSERT INTO {'a' * 63} DEFAULT VALUES")
            assert not await conn.fetchval(f'SELECT count(*) FROM "{"Ü" * 30}-"')


async def test_a_login_of_63_bytes_with_capitals_and_quotes_is_let_in(
    database: Database, server_url: str
) -> None:
    name = f'Notes-App "{"x" * 49}"é'
    assert len(name.encode()) == 63
    quoted = identifiers.quoted_login(name)
    async with superuser(server_url) as root:
        await root.execute(f"CREATE ROLE {quoted} LOGIN NOINHERIT PASSWORD '{PASSWORD}'")
        await root.execute(f"GRANT CONNECT ON DATABASE {database.name} TO {quoted}")
        url = database.app_url.partition("@")[2]
        login = name.replace(" ", "%20").replace('"', "%22").replace("é", "%C3%A9")
        settings = database.settings(database_url=f"postgresql://{login}:{PASSWORD}@{url}")
        try:
            async with provision.administrator(settings) as admin:
                await admin.grant()
                await admin.refill(1)
                for slug in ("initech", "hooli"):
                    await admin.create(slug)
            async with Tenancy(settings=settings) as tenancy:
                for slug in ("initech", "hooli"):
                    async with tenancy.transaction(slug) as conn:
                        await conn.execute("INSERT INTO notes (body) VALUES ('x')")
        finally:
            await root.execute(f"DROP DATABASE {database.name} WITH (FORCE)")
            await root.execute(f"DROP ROLE {quoted}")


@pytest.mark.parametrize("apart", [False, True])
async def test_a_domain_that_is_taken_while_the_schema_is_made_leaves_nothing(
    database: Database, tmp_path: Path, *, apart: bool
) -> None:
    settings = database.settings(sql_dir=with_files(tmp_path, APART if apart else {}))
    before = await everything(database)
    outcomes = await asyncio.gather(
        *(create(settings, f"many-{n}", "one.example") for n in range(6)), return_exceptions=True
    )
    assert sum(isinstance(one, DomainTakenError) for one in outcomes) == 5
    made = next(one for one in outcomes if isinstance(one, provision.Profile))
    new = await everything(database) - before
    assert {n for kind, n in new if kind in ("schema", "role")} == {made.tenant.schema}


async def test_a_slug_used_again_gets_a_schema_of_its_own(database: Database) -> None:
    first = await create(database.settings(), "initech")
    await _write(database, "initech")
    async with superuser(database.superuser_url) as conn:  # its schema stays
        await conn.execute("DELETE FROM tenancy.tenants WHERE slug = 'initech'")
    second = await create(database.settings(), "initech")
    assert second.tenant.schema != first.tenant.schema
    async with superuser(database.superuser_url) as conn:
        assert await conn.fetchval(f"SELECT count(*) FROM {first.tenant.schema}.notes") == 1
        assert await conn.fetchval(f"SELECT count(*) FROM {second.tenant.schema}.notes") == 0


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("there", "gone"),
    [
        ("CREATE SCHEMA {}", "DROP SCHEMA {}"),
        ("CREATE ROLE {}", "DROP ROLE {}"),
        (
            "INSERT INTO tenancy.tenants (slug, schema_name) VALUES ('x', '{}')",
            "DELETE FROM tenancy.tenants WHERE slug = 'x'",
        ),
    ],
)
async def test_a_name_that_is_there_by_chance_is_left_alone(  # noqa: PLR0913 - fixtures
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: str,
    gone: str,
    *,
    apart: bool,
) -> None:
    used, free = identifiers.schema_name("initech"), identifiers.schema_name("initech")
    names = [used, free]
    monkeypatch.setattr(identifiers, "schema_name", lambda _: names.pop(0))
    settings = database.settings(sql_dir=with_files(tmp_path, APART if apart else {}))
    async with superuser(database.superuser_url) as conn:
        await conn.execute(there.format(used))
        try:
            before = await everything(database)
            made = await create(settings, "initech")
            assert made.tenant.schema == free
            names[:] = [used] * 3
            after = await everything(database)
            with pytest.raises(SchemaNameTakenError, match="try again"):
                await create(settings, "hooli")
            assert await everything(database) == after > before
        finally:
            await conn.execute(gone.format(used))


@pytest.mark.parametrize("way", ["built", "apart", "made ahead"])
async def test_hooks_of_a_creation_work_in_the_new_schema_and_can_undo_it(
    database: Database, tmp_path: Path, way: str
) -> None:
    settings = database.settings(sql_dir=with_files(tmp_path, APART if way == "apart" else {}))
    hooks = Hooks()
    seen: list[tuple[str, object]] = []

    @hooks.before(Step.CREATE)
    async def begin(event: Event) -> None:
        seen.append(("before", event.profile))

    @hooks.after(Step.CREATE)
    async def seed(event: Event) -> None:
        assert event.conn is not None
        assert event.profile is not None
        await event.conn.execute("INSERT INTO notes (body) VALUES ('welcome')")
        seen.append(("after", event.profile.tenant.schema))
        if event.slug == "hooli":
            raise ZeroDivisionError

    @hooks.committed(Step.CREATE)
    async def tell(event: Event) -> None:
        seen.append(("committed", event.conn))

    async with provision.administrator(settings, hooks=hooks) as admin:
        if way == "made ahead":
            await admin.refill(2)
        profile = await admin.create("initech")
        assert seen == [("before", None), ("after", profile.tenant.schema), ("committed", None)]
        before = await everything(database)
        with pytest.raises(HookFailedError, match="ZeroDivisionError"):
            await admin.create("hooli")
    assert await everything(database) == before
    assert (await audited(database))[0] == ("create", "hooli", "failed")
    async with Tenancy(settings=settings) as tenancy, tenancy.transaction("initech") as conn:
        assert await conn.fetchval("SELECT body FROM notes") == "welcome"


async def test_nothing_that_files_leave_in_a_session_meets_the_next_tenant(
    database: Database, tmp_path: Path
) -> None:
    files = {
        "0002_left.sql": "SET check_function_bodies = off; SET TIME ZONE 'Asia/Tokyo';\n"
        "PREPARE left_behind AS SELECT 1; CREATE TEMP TABLE left_over (id int);\n"
        "SET lock_timeout = '1h';\n"
    }
    settings = database.settings(sql_dir=with_files(tmp_path, files))
    names = ("TimeZone", "lock_timeout", "check_function_bodies", "search_path")
    async with provision.administrator(settings) as admin:
        before = [await admin.connection.fetchval(f"SHOW {name}") for name in names]
        for slug in ("initech", "hooli"):
            await admin.create(slug)
            found = [await admin.connection.fetchval(f"SHOW {name}") for name in names]
            assert found == before
        await admin.refill(2)
        assert [await admin.connection.fetchval(f"SHOW {name}") for name in names] == before
        assert not await admin.connection.fetchval(
            "SELECT count(*) FROM pg_prepared_statements WHERE from_sql"
        )
        with pytest.raises(asyncpg.UndefinedTableError):
            await admin.connection.execute("TABLE pg_temp.left_over")
        with pytest.raises(SlugTakenError):
            await admin.create("acme")
        (tmp_path / "tenant" / "0003_broken.sql").write_text("SELECT 1 / 0;\n")
        for _ in range(2):  # the second one finds no statement that the first has prepared
            with pytest.raises(MigrationError, match=r"0003_broken\.sql"):
                await admin.create("umbrella")


async def test_files_that_change_are_read_again(database: Database, tmp_path: Path) -> None:
    settings = database.settings(sql_dir=with_files(tmp_path, {}))
    async with provision.administrator(settings) as admin:
        assert (await admin.create("initech")).tenant.version == "0001"
        assert admin.files() is admin.files()
        (tmp_path / "tenant" / "0002_tags.sql").write_text("CREATE TABLE tags (id int);\n")
        assert (await admin.create("hooli")).tenant.version == "0002"
        (tmp_path / "tenant" / "0002_tags.sql").write_text("SELECT 1 / 0;\n")
        with pytest.raises(MigrationError):
            await admin.create("umbrella")
        (tmp_path / "tenant" / "0002_tags.sql").unlink()
        assert (await admin.create("umbrella")).tenant.version == "0001"


async def test_a_create_that_waits_for_another_of_its_slug_finds_it_taken(
    database: Database,
) -> None:
    entered, go = asyncio.Event(), asyncio.Event()
    hooks = Hooks()

    @hooks.after(Step.CREATE)
    async def hold(_: Event) -> None:
        entered.set()
        await go.wait()

    async def first() -> provision.Profile:
        async with provision.administrator(database.settings(), hooks=hooks) as admin:
            return await admin.create("initech")

    holding = asyncio.create_task(first())
    await entered.wait()
    waiting = asyncio.create_task(create(database.settings(), "initech"))
    go.set()
    made = await holding
    with pytest.raises(SlugTakenError):
        await waiting
    schemas = {n for kind, n in await everything(database) if kind == "schema"}
    assert {name for name in schemas if "initech" in name} == {made.tenant.schema}


async def test_the_hook_of_the_guide_seeds_a_tenant(database: Database) -> None:
    guide = (Path(provision.__file__).parent / "README.md").read_text()
    example = re.search(r"<!-- seed -->\n```python\n(.*?)```", guide, re.DOTALL)
    assert example is not None
    names: dict[str, Any] = {}
    exec(example[1], names)
    async with provision.administrator(database.settings(), hooks=names["hooks"]) as admin:
        await admin.create("initech")
    async with Tenancy(settings=database.settings()) as tenancy:
        async with tenancy.transaction("initech") as conn:
            assert await conn.fetchval("SELECT body FROM notes") == "Welcome, initech"
