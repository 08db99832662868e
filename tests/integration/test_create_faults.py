"""Whatever ends a creation, and wherever: all of the tenant is there, or nothing of it."""

import random
from collections import Counter
from pathlib import Path

import pytest
from support.creations import APART, audited, create, everything, refill, until_idle, with_files
from support.databases import Database
from support.faulty import Fault, attempt, cancelling, counted, killing, raising, zygote

from tenancy.settings import Settings

WAYS = ("built", "apart", "made ahead")
SHORT = 6  # statements of each, chosen by chance

Change = tuple[Counter[str], Counter[str]]
Found = set[tuple[str, ...]]

# A schema that is built by transactions of its own is left for the next to drop, in the worst case.
_SCRATCH = ("schema", "ledger", "checkpoint")


def _change(before: Found, after: Found, *, without: tuple[str, ...] = ()) -> Change:
    """How many of each kind are new, and are gone."""
    gained = Counter(kind for kind, _ in after - before if kind not in without)
    return gained, Counter(kind for kind, _ in before - after)


class Trial:
    """Creations one after the other, each of which may go wrong."""

    def __init__(self, database: Database, settings: Settings, way: str) -> None:
        self.settings = settings
        self._database = database
        self._way = way
        self._whole: Change = Counter(), Counter()
        self._before: Found = set()

    async def begin(self) -> None:
        """See what a creation that goes well leaves."""
        await self.ready()
        await create(self.settings, "model", "model.example", key="model")
        self._whole = _change(self._before, await everything(self._database))
        assert self._whole[0]["tenant"] == self._whole[0]["domain"] == 1

    async def ready(self) -> None:
        """Let there be what the next one needs."""
        if self._way == "made ahead":
            await refill(self.settings, 1)
        self._before = await everything(self._database)

    async def end(self, slug: str, *, told: bool) -> bool:
        """Look at what is there, send the request again, and look once more; whether it was made.

        Whoever sends it under its key until he is answered gets one tenant.
        """
        await until_idle(self._database)
        without = _SCRATCH if self._way == "apart" else ()
        found = _change(self._before, await everything(self._database), without=without)
        made = bool(found[0]["tenant"])
        whole = Counter({k: n for k, n in self._whole[0].items() if k not in without})
        assert found == ((whole, self._whole[1]) if made else (Counter(), Counter())), slug
        assert made or not told
        profile = await create(self.settings, slug, f"{slug}.example", key=slug)
        assert profile.tenant.slug == slug
        assert _change(self._before, await everything(self._database)) == self._whole, slug
        return made


@pytest.fixture(params=WAYS)
async def trial(request: pytest.FixtureRequest, database: Database, tmp_path: Path) -> Trial:
    """Of files that are built in one transaction, in several, or ahead."""
    files = APART if request.param == "apart" else {}
    settings = database.settings(sql_dir=with_files(tmp_path, files))
    trial = Trial(database, settings, request.param)
    await trial.begin()
    return trial


def _points(count: int, seed: int, *, long: bool) -> list[tuple[int, bool]]:
    """Statements, and whether it happens before or after them; the last ones always."""
    every = [(at, after) for at in range(1, count + 1) for after in (False, True)]
    if long or len(every) <= SHORT:
        return every
    return random.Random(seed).sample(every, SHORT)


async def _statements(trial: Trial) -> int:
    fault = Fault(raising, 0)
    await trial.ready()
    assert await attempt(fault, trial.settings, "counted", "counted.example")
    return fault.count


@pytest.mark.timeout(1200)  # --long: each statement
@pytest.mark.parametrize("kind", ["error", "cancellation", "back end killed"])
async def test_a_creation_that_ends_at_any_statement_leaves_all_or_nothing(
    trial: Trial, database: Database, kind: str, seed: int, *, long: bool
) -> None:
    acts = {
        "error": raising,
        "cancellation": cancelling,
        "back end killed": killing(database.superuser_url),
    }
    with counted():
        count = await _statements(trial)
        outcomes = set()
        for at, after in _points(count, seed, long=long):
            slug = f"x-{at}-{int(after)}"
            await trial.ready()
            told = await attempt(
                Fault(acts[kind], at, after), trial.settings, slug, f"{slug}.example"
            )
            outcomes.add(await trial.end(slug, told=told))
    assert False in outcomes  # the fault was met
    assert count > 10


@pytest.mark.timeout(1200)
async def test_a_process_that_is_killed_at_any_statement_leaves_all_or_nothing(
    trial: Trial, seed: int, *, long: bool
) -> None:
    with counted():
        count = await _statements(trial)
    outcomes = set()
    async with zygote(trial.settings) as parent:
        for at, after in _points(count, seed, long=long):
            slug = f"x-{at}-{int(after)}"
            await trial.ready()
            told = await parent.attempt(slug, f"{slug}.example", at=at, after=after)
            outcomes.add(await trial.end(slug, told=told))
    assert False in outcomes


async def test_a_creation_that_fails_is_in_the_audit_though_its_back_end_is_gone(
    database: Database,
) -> None:
    with counted():
        fault = Fault(killing(database.superuser_url), 12)
        assert not await attempt(fault, database.settings(), "initech")
    assert (await audited(database))[0] == ("create", "initech", "failed")
