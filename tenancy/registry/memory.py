"""What a process remembers of the registry, and whether it may believe it. Pure: told the time.

A tenant is believed for a time to live, counted from when it was read, or from when the listener
was last heard: had it changed before that, we would know. Of a change only the id is told; from
then on that tenant is not served from memory until it has been read again.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final
from uuid import UUID

from tenancy import identifiers
from tenancy.registry.directory import Directory
from tenancy.registry.lookup import Registered
from tenancy.resolvers import KeyKind, TenantKey
from tenancy.settings import Settings
from tenancy.tenant import Tenant

MAX_CHANGED = 1000  # tenants; beyond, reading all of them is cheaper

_NEVER = float("-inf")


class Answer(Enum):
    """What memory says of a name, where it does not say whose it is."""

    NOBODY = "it is known to be nobody's"
    UNSURE = "somebody's, but it may have changed: ask"
    STRANGER = "never seen: ask"


NOBODY: Final = Answer.NOBODY
UNSURE: Final = Answer.UNSURE
STRANGER: Final = Answer.STRANGER


class Memory:
    """Tenants and names; times are seconds of one clock.

    Attributes:
        changes: how often it was told of a change; an answer from the database is of the past if it
            was asked for before the last one.
        changed: ids to read again, each with its number among the changes.
        all_changed: whether everything is to be read again.
        reloaded_at: when everything was read.
    """

    def __init__(self, settings: Settings) -> None:
        self._ttl_seconds = settings.registry_ttl_seconds
        self._negative_ttl_seconds = settings.registry_negative_ttl_seconds
        self._limit = settings.registry_max_entries
        self._tenants = Directory(self._limit)
        # Apart from the tenants, so that made-up names push none of them out.
        self._absent: OrderedDict[TenantKey, float] = OrderedDict()  # until when
        self._complete = False  # whether a name that is not here is nobody's, as long as we hear
        self._heard_at = _NEVER
        self.changes = 0
        self.changed: dict[str, int] = {}
        self.all_changed = False
        self.reloaded_at = _NEVER

    def recall(self, key: TenantKey, now: float) -> Tenant | Answer:
        """Return whose *key* is, or how little is known of it."""
        entry = self._tenants.get(key)
        if entry is None:
            return NOBODY if self._is_nobody(key, now) else STRANGER
        if entry.stale or not (self.hears(now) or now < entry.read_at + self._ttl_seconds):
            return UNSURE
        if not self._complete:
            self._tenants.used(entry)
        return entry.tenant

    def hears(self, now: float) -> bool:
        """Whether a listener would have told us of changes."""
        return now < self._heard_at + self._ttl_seconds

    def heard(self, at: float) -> None:
        """Note that every change committed before *at* has been told and read."""
        if not self.all_changed:
            self._heard_at = at

    def _is_nobody(self, key: TenantKey, now: float) -> bool:
        if self._complete and not self.changed and self.hears(now):
            return True
        return now < self._absent.get(key, _NEVER) or not _is_possible(key)

    # Being told

    def change(self, payload: str) -> None:
        """Take note, in constant time, that a tenant changed: its id, or anything else for all."""
        self.changes += 1
        if _is_id(payload) and (len(self.changed) < MAX_CHANGED or payload in self.changed):
            self.changed[payload] = self.changes
            self._tenants.doubt(payload)
        else:
            self._tenants.doubt(payload)
            self._complete = False
            self.all_changed = True

    def forget(self) -> None:
        """Believe nothing; names that were known stay known."""
        self.changes += 1
        self._complete = False
        self._heard_at = _NEVER
        self.all_changed = True
        self._tenants.doubt_all()
        self._absent.clear()

    # Learning

    def learn(self, key: TenantKey, found: Registered | None, read_at: float) -> None:
        """Remember the answer to one question."""
        if found is not None:
            self._put(found, read_at)
            return
        self._tenants.remove_name(key)
        self._absent[key] = read_at + self._negative_ttl_seconds
        self._absent.move_to_end(key)
        if len(self._absent) > self._limit:
            self._absent.popitem(last=False)

    def learn_changed(
        self, changed: Mapping[str, int], found: Iterable[Registered], read_at: float
    ) -> None:
        """Remember those of *changed* that were *found*, and that there are no others."""
        gone = set(changed)
        for each in found:
            tenant_id = str(each.tenant.id)
            gone.discard(tenant_id)
            if self.changed.get(tenant_id) == changed[tenant_id]:  # not once more meanwhile
                self._put(each, read_at)
        for tenant_id in gone:
            self._tenants.remove(tenant_id)
        self._settle(changed)

    def learn_all(self, changed: Mapping[str, int], tenants: Directory, *, complete: bool) -> None:
        """Remember *tenants* alone, read after *changed* was told; *complete*: there are no others.

        What was told of later is not believed.
        """
        self._settle(changed)
        for tenant_id in self.changed:
            tenants.doubt(tenant_id)
        self.changes += 1  # an answer that is on its way may be older
        self._tenants = tenants
        self._absent.clear()
        self._complete = complete and not self.all_changed

    def _put(self, found: Registered, read_at: float) -> None:
        if not self._tenants.put(*found, read_at):
            self._complete = False  # somebody had to make room
        if self._absent:
            for kind, names in (
                (KeyKind.SLUG, (found.tenant.slug,)),
                (KeyKind.DOMAIN, found.domains),
                (KeyKind.FORMER_SLUG, found.former_slugs),
            ):
                for name in names:
                    self._absent.pop(TenantKey(kind, name), None)

    def _settle(self, changed: Mapping[str, int]) -> None:
        for tenant_id, number in changed.items():
            if self.changed.get(tenant_id) == number:
                del self.changed[tenant_id]


def _is_possible(key: TenantKey) -> bool:
    """Whether a tenant could have this name at all; no other text is sent to the database."""
    match key.kind:
        case KeyKind.SLUG | KeyKind.FORMER_SLUG:
            return identifiers.is_slug(key.name)
        case KeyKind.DOMAIN:
            return identifiers.is_host_name(key.name)
        case KeyKind.ID:
            return _is_id(key.name)


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
