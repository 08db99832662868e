"""Hooks of a deployment are called at each step, and belong to its transaction."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from support.databases import Database

from tenancy import provision
from tenancy.errors import HookFailedError, SettingsError, SlugTakenError, StepRefusedError
from tenancy.fairness import limits
from tenancy.provision import Event, Hooks, Moment, Step
from tenancy.provision.hooks import load

CHANGES = {limits.MAX_CONNECTIONS: 3}
HOOKS = """
from tenancy.errors import StepRefusedError
from tenancy.provision import Event, Hooks, Step

hooks = Hooks()
number = 7


@hooks.before(Step.CREATE)
async def refuse(event: Event) -> None:
    if event.slug.startswith("bad"):
        raise StepRefusedError(f"{event.slug!r} is on the list of bad names: choose another")
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, with a module of hooks."""
    (tmp_path / "acme_hooks.py").write_text(HOOKS)
    (tmp_path / "broken_hooks.py").write_text("import tenancy\n\n1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in ("acme_hooks", "broken_hooks"):
        sys.modules.pop(name, None)


async def test_hooks_are_called_in_order_and_on_their_moments(database: Database) -> None:
    hooks = Hooks()
    seen: list[tuple[str, bool, bool, int | None]] = []

    def told(name: str) -> provision.hooks.Hook:
        async def hook(event: Event) -> None:
            known = event.profile.tenant.limits.max_connections if event.profile else None
            in_transaction = bool(event.conn and event.conn.is_in_transaction())
            seen.append((name, in_transaction, event.profile is not None, known))

        return hook

    hooks.committed(Step.LIMIT)(told("committed"))
    hooks.after(Step.LIMIT)(told("after"))
    hooks.after(Step.LIMIT, Step.CREATE)(told("after, too"))
    hooks.before(Step.LIMIT)(told("before"))
    async with provision.administrator(database.settings(), hooks=hooks) as admin:
        await admin.limit("acme", CHANGES)
    assert [(name, inside) for name, inside, _, _ in seen] == [
        ("before", True),
        ("after", True),
        ("after, too", True),
        ("committed", False),
    ]
    assert [limit for *_, limit in seen[1:]] == [3, 3, 3]


@pytest.mark.parametrize("moment", [Moment.BEFORE, Moment.AFTER])
async def test_what_a_hook_raises_undoes_the_step_and_names_the_hook(
    database: Database, moment: Moment
) -> None:
    hooks = Hooks()

    at = hooks.before if moment is Moment.BEFORE else hooks.after

    @at(Step.LIMIT)
    async def charge(event: Event) -> None:
        assert event.conn is not None
        await event.conn.execute("CREATE TABLE tenancy.left_behind (id int)")
        raise ValueError("no such plan")

    async with provision.administrator(database.settings(), hooks=hooks) as admin:
        with pytest.raises(HookFailedError, match=r"charge failed at .*: ValueError: no such plan"):
            await admin.limit("acme", CHANGES)
        assert (await admin.show("acme")).tenant.limits.max_connections is None
        assert not await admin.connection.fetchval("SELECT to_regclass('tenancy.left_behind')")
        (entry, *_) = await admin.history("acme")
    assert (entry.action, entry.outcome, entry.code) == ("limit", "failed", "hook_failed")


async def test_a_hook_that_refuses_is_a_refusal_with_its_own_words(database: Database) -> None:
    hooks = Hooks()

    @hooks.before(Step.LIMIT)
    async def refuse(_: Event) -> None:
        raise StepRefusedError("not on a Sunday")

    async with provision.administrator(database.settings(), hooks=hooks) as admin:
        with pytest.raises(StepRefusedError, match="not on a Sunday"):
            await admin.limit("acme", CHANGES)
        (entry, *_) = await admin.history("acme")
    assert (entry.outcome, entry.code) == ("refused", "step_refused")


async def test_a_hook_that_ends_the_transaction_is_told_so(database: Database) -> None:
    hooks = Hooks()

    @hooks.before(Step.LIMIT)
    async def commit(event: Event) -> None:
        assert event.conn is not None
        await event.conn.execute("COMMIT")

    async with provision.administrator(database.settings(), hooks=hooks) as admin:
        with pytest.raises(HookFailedError, match="ended the transaction"):
            await admin.limit("acme", CHANGES)
        assert (await admin.show("acme")).tenant.limits.max_connections is None


async def test_a_hook_that_passes_over_an_error_of_the_servers_has_failed(
    database: Database,
) -> None:
    hooks = Hooks()

    @hooks.after(Step.LIMIT)
    async def careless(event: Event) -> None:
        assert event.conn is not None
        with contextlib.suppress(asyncpg.PostgresError):
            await event.conn.execute("SELECT 1 / 0")

    async with provision.administrator(database.settings(), hooks=hooks) as admin:
        with pytest.raises(HookFailedError, match="careless failed: it passed over an error"):
            await admin.limit("acme", CHANGES)
        assert (await admin.show("acme")).tenant.limits.max_connections is None


async def test_a_hook_after_the_commit_undoes_nothing(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = Hooks()

    @hooks.committed(Step.LIMIT)
    async def mail(event: Event) -> None:
        assert event.conn is None
        raise OSError("no post today")

    async with provision.administrator(database.settings(), hooks=hooks) as admin:
        assert (await admin.limit("acme", CHANGES)).tenant.limits.max_connections == 3
        (entry, *_) = await admin.history("acme")
    assert entry.outcome == "done"
    assert "mail failed; the step limit stands" in caplog.text


async def test_a_hook_is_told_the_reason_that_the_audit_keeps(database: Database) -> None:
    hooks = Hooks()
    told: list[str | None] = []

    @hooks.before(Step.LIMIT, Step.SUSPEND)
    async def listen(event: Event) -> None:
        told.append(event.reason)

    async with provision.administrator(database.settings(), hooks=hooks) as admin:
        await admin.limit("acme", CHANGES)
        admin.reason = "in general"
        await admin.limit("acme", CHANGES)
        await admin.suspend("acme", reason="of its own")
        kept = [entry.reason for entry in await admin.history("acme", limit=3)]
    assert told == kept[::-1] == [None, "in general", "of its own"]


async def test_a_step_that_is_refused_calls_nothing_after_it(database: Database) -> None:
    hooks = Hooks()
    called: list[Moment] = []

    @hooks.after(Step.CREATE)
    async def after(_: Event) -> None:
        called.append(Moment.AFTER)

    @hooks.committed(Step.CREATE)
    async def committed(_: Event) -> None:
        called.append(Moment.COMMITTED)

    async with provision.administrator(database.settings(), hooks=hooks) as admin:
        with pytest.raises(SlugTakenError):
            await admin.create("acme")
    assert called == []


async def test_hooks_of_the_setting_are_loaded(database: Database, modules: Path) -> None:
    settings = database.settings(hooks="acme_hooks:hooks")
    async with provision.administrator(settings) as admin:
        with pytest.raises(StepRefusedError, match="bad-name"):
            await admin.create("bad-name")
        assert (await admin.create("good-name")).tenant.slug == "good-name"
    assert (modules / "acme_hooks.py").exists()


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("acme_hooks", "write module:object"),
        (":hooks", "write module:object"),
        ("nowhere:hooks", r"loading nowhere:hooks failed.*No module named 'nowhere'"),
        ("acme_hooks:nothing", "the module acme_hooks has no nothing"),
        ("acme_hooks:number", r"TENANCY_HOOKS=acme_hooks:number is of type int"),
        ("broken_hooks:hooks", r"failed at broken_hooks\.py:3: ZeroDivisionError"),
    ],
)
@pytest.mark.usefixtures("modules")
def test_hooks_that_cannot_be_loaded_are_said_to_be_so(target: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load(target)


def test_no_setting_is_no_hooks() -> None:
    assert isinstance(load(None), Hooks)
    with pytest.raises(TypeError, match="name the steps"):
        Hooks().after()
