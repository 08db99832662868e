"""The registry's memory against a database in the test's own words: never believed too long."""

from dataclasses import dataclass, field
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenancy.registry.bucket import Bucket
from tenancy.registry.directory import Directory
from tenancy.registry.lookup import Registered
from tenancy.registry.memory import NOBODY, STRANGER, UNSURE, Memory
from tenancy.resolvers import KeyKind, TenantKey
from tenancy.settings import Settings
from tenancy.tenant import Tenant

TTL = 5.0
SLUGS = [f"s{n}" for n in range(3)]
IDS = [str(UUID(int=n)) for n in range(1, 4)]


KEYS = [TenantKey(kind, slug) for kind in (KeyKind.SLUG, KeyKind.FORMER_SLUG) for slug in SLUGS]


def _slug(name: str) -> TenantKey:
    return TenantKey(KeyKind.SLUG, name)


@dataclass
class World:
    """Who has which slug now, or had it, when each led elsewhere, and one memory of it."""

    limit: int
    now: float = 0.0
    tenants: dict[str, str] = field(default_factory=dict)  # id to slug
    former: dict[str, str] = field(default_factory=dict)  # slug to id
    was: list[tuple[float, dict[TenantKey, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.memory = Memory(
            Settings(
                registry_ttl_seconds=TTL,
                registry_negative_ttl_seconds=TTL,
                registry_max_entries=self.limit,
            )
        )
        self.listening = False
        self.was.append((0.0, {}))

    def found(self, tenant_id: str) -> Registered:
        former = [slug for slug, its in self.former.items() if its == tenant_id]
        return Registered(Tenant(UUID(tenant_id), self.tenants[tenant_id], "t_x"), (), former)

    def owners(self) -> dict[TenantKey, str]:
        """Whom each name leads to now."""
        present = {_slug(slug): tenant_id for tenant_id, slug in self.tenants.items()}
        former = {TenantKey(KeyKind.FORMER_SLUG, slug): its for slug, its in self.former.items()}
        return present | former

    def by_key(self, key: TenantKey) -> Registered | None:
        tenant_id = self.owners().get(key)
        return None if tenant_id is None else self.found(tenant_id)

    def set(self, tenant_id: str, slug: str | None) -> None:
        """Change the database; PostgreSQL tells, where somebody listens."""
        if slug in self.tenants.values():
            return
        had = self.tenants.pop(tenant_id, None)
        changed = {tenant_id}
        if slug is not None:
            self.tenants[tenant_id] = slug
            changed.add(self.former.pop(slug, tenant_id))
            if had is not None:
                self.former[had] = tenant_id
        else:
            self.former = {name: its for name, its in self.former.items() if its != tenant_id}
        self.was.append((self.now, self.owners()))
        for each in changed:
            if self.listening:
                self.memory.change(each)

    def reload(self) -> None:
        read = Directory(self.limit)
        changed = dict(self.memory.changed)
        self.memory.all_changed = False
        for tenant_id in self.tenants:
            read.put(*self.found(tenant_id), self.now)
        self.memory.learn_all(changed, read, complete=len(self.tenants) <= self.limit)

    def reread(self) -> None:
        changed = dict(self.memory.changed)
        found = [self.found(i) for i in changed if i in self.tenants]
        self.memory.learn_changed(changed, found, self.now)

    def listen(self) -> None:
        self.listening = True
        self.reload()
        self.memory.heard(self.now)

    def hear(self) -> None:
        if self.listening:
            self.reread()
            self.memory.heard(self.now)

    def ask(self, key: TenantKey) -> None:
        """What a request does where memory does not know."""
        if self.memory.recall(key, self.now) in (UNSURE, STRANGER):
            self.memory.learn(key, self.by_key(key), self.now)

    def check(self, key: TenantKey) -> None:
        """What memory says now is so, or was within the time to live where nobody listens."""
        answer = self.memory.recall(key, self.now)
        if answer in (UNSURE, STRANGER):
            return
        claimed = None if answer is NOBODY else str(answer.id)
        ends = [at for at, _ in self.was[1:]] + [float("inf")]
        assert claimed in [
            owners.get(key)
            for (_, owners), end in zip(self.was, ends, strict=True)
            if end > self.now - TTL
        ]
        # A negative answer may be of before the notification, until its tenant has been read.
        if self.listening and (claimed or not self.memory.changed):
            assert claimed == self.owners().get(key)


_STEP = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(IDS), st.sampled_from([*SLUGS, None])),
    st.tuples(st.just("ask"), st.sampled_from(KEYS)),
    st.tuples(st.just("sleep"), st.sampled_from([0.5, 2.0, 6.0])),
    st.tuples(st.sampled_from(["listen", "hear", "deafen", "reread", "forget"])),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_STEP, max_size=40), st.sampled_from([2, 10]))
def test_what_memory_says_was_true_within_the_time_to_live(
    steps: list[tuple[object, ...]], limit: int
) -> None:
    world = World(limit)
    for step in steps:
        match step:
            case ("set", str(tenant_id), slug):
                world.set(tenant_id, slug)  # type: ignore[arg-type]
            case ("ask", TenantKey() as key):
                world.ask(key)
            case ("sleep", float(seconds)):
                world.now += seconds
            case ("deafen",):
                world.listening = False
            case ("forget",):
                world.memory.forget()
            case (str(name),):
                getattr(world, name)()
        for key in KEYS:
            world.check(key)
        assert len(world.memory._tenants) <= limit
        assert len(world.memory._absent) <= limit


def test_an_answer_of_nobody_ends_with_the_tenant_of_that_name() -> None:
    world = World(1)
    world.set(IDS[0], "s0")
    world.set(IDS[1], "s1")
    world.listen()  # with more tenants than may be kept, so that names are asked for
    world.ask(_slug("s2"))
    assert world.memory.recall(_slug("s2"), 0.0) is NOBODY
    world.set(IDS[0], "s2")
    world.reread()
    assert world.memory.recall(_slug("s2"), 0.0) == world.found(IDS[0]).tenant
    world.ask(_slug("s1"))  # which takes the one place there is
    assert world.memory.recall(_slug("s2"), 0.0) is STRANGER


def test_a_former_slug_leads_to_its_tenant_until_somebody_takes_it() -> None:
    world, former = World(10), TenantKey(KeyKind.FORMER_SLUG, "s0")
    world.set(IDS[0], "s0")
    world.listen()
    assert world.memory.recall(former, 0.0) is NOBODY
    world.set(IDS[0], "s1")
    world.hear()
    assert world.memory.recall(former, 0.0) == world.found(IDS[0]).tenant
    assert world.memory.recall(_slug("s0"), 0.0) is NOBODY
    world.set(IDS[1], "s0")
    world.hear()
    assert world.memory.recall(former, 0.0) is NOBODY
    assert world.memory.recall(_slug("s0"), 0.0) == world.found(IDS[1]).tenant


def test_an_answer_of_nobody_ends_with_a_tenant_that_had_the_name() -> None:
    world, former = World(1), TenantKey(KeyKind.FORMER_SLUG, "s0")
    world.set(IDS[0], "s0")
    world.set(IDS[1], "s2")
    world.ask(former)
    assert world.memory.recall(former, 0.0) is NOBODY
    world.set(IDS[0], "s1")
    world.ask(_slug("s1"))
    assert world.memory.recall(former, 0.0) == world.found(IDS[0]).tenant
    world.ask(_slug("s2"))  # which takes the one place there is
    assert world.memory.recall(former, 0.0) is STRANGER


def test_a_name_that_led_to_somebody_is_remembered_as_nobodys() -> None:
    world = World(10)
    world.set(IDS[0], "s0")
    world.ask(_slug("s0"))
    world.set(IDS[0], "s1")
    world.now += TTL
    world.ask(_slug("s0"))
    assert world.memory.recall(_slug("s0"), world.now) is NOBODY


def test_what_is_told_as_all_while_everything_is_read_leaves_nobody_known() -> None:
    world = World(10)
    world.listen()
    world.memory.all_changed = False
    world.memory.change("all")
    world.memory.learn_all({}, Directory(10), complete=True)
    world.memory.heard(0.0)
    assert world.memory.recall(_slug("s0"), 0.0) is STRANGER


def test_an_answer_asked_for_before_a_change_is_not_remembered_as_of_after_it() -> None:
    memory = Memory(Settings())
    before = memory.changes
    memory.change(IDS[0])
    assert memory.changes != before


def test_what_changes_while_everything_is_read_is_not_believed() -> None:
    world = World(10)
    world.set(IDS[0], "s0")
    world.listen()
    read, changed = Directory(10), dict(world.memory.changed)
    read.put(*world.found(IDS[0]), 0.0)
    world.set(IDS[0], "s1")  # after its page was read
    world.memory.learn_all(changed, read, complete=True)
    world.memory.heard(0.0)
    assert world.memory.recall(_slug("s0"), 0.0) is UNSURE
    assert world.memory.recall(_slug("s1"), 0.0) is STRANGER


def test_what_changes_once_more_while_it_is_read_again_is_not_believed() -> None:
    world = World(10)
    world.set(IDS[0], "s0")
    world.listen()
    world.set(IDS[0], "s1")
    changed, found = dict(world.memory.changed), [world.found(IDS[0])]
    world.set(IDS[0], "s2")
    world.memory.learn_changed(changed, found, 0.0)
    assert world.memory.recall(_slug("s0"), 0.0) is UNSURE
    assert world.memory.recall(_slug("s1"), 0.0) is STRANGER


@given(st.integers(1, 50), st.lists(st.floats(0, 1), max_size=300))
def test_a_bucket_lets_no_more_through_than_its_rate(rate: int, pauses: list[float]) -> None:
    bucket, now, passed = Bucket(rate), 1000.0, 0
    for pause in pauses:
        now += pause
        passed += bucket.take(now)
    assert passed <= rate * (now - 1000.0 + 1) + 1e-6


@pytest.mark.parametrize("number", [1, 7])
def test_a_bucket_fills_again(number: int) -> None:
    bucket = Bucket(number)
    assert [bucket.take(1.0) for _ in range(number + 1)] == [True] * number + [False]
    assert [bucket.take(2.0) for _ in range(number + 1)] == [True] * number + [False]
