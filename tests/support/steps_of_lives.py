"""The steps of tenants' lives, each with what must come of it as the model stands."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from support.careers import Life, World
from tenancy.errors import (
    DomainTakenError,
    NotDeletedError,
    PurgeBegunError,
    SlugTakenError,
    StateConflictError,
    TenancyError,
    UnknownDomainError,
    UnknownTenantError,
)
from tenancy.fairness import limits
from tenancy.migrate.upgrade.lock import LockHeldError
from tenancy.provision import Administrator

TENANTS = 50
SLUGS = tuple(f"life-{number:02}" for number in range(TENANTS))
DOMAINS = tuple(f"www.life-{number:02}.example" for number in range(30))

_MISTAKES = {"create": 1, "restore": 1, "suspend": 1}
_SERVED = {
    "suspend": 3,
    "make_read_only": 3,
    "resume": 4,
    "delete": 4,
    "rename": 4,
    "add_domain": 4,
    "remove_domain": 2,
    "make_primary": 2,
    "limit": 2,
    "purge": 1,
    **_MISTAKES,
}
CHOICES: dict[str, dict[str, int]] = {
    "nobody": {"create": 20, "purge": 1, "rename": 1, "delete": 1, "add_domain": 1, **_MISTAKES},
    "active": _SERVED,
    "read_only": _SERVED,
    "suspended": _SERVED,
    "deleting": {"restore": 4, "purge": 8, "delete": 1, "resume": 1, "create": 1},
}


@dataclass(frozen=True)
class Draw:
    """What chance has picked: a step, and the names that it is about."""

    step: str
    slug: str
    to: str
    domain: str
    seconds: float

    @property
    def names(self) -> tuple[str, ...]:
        return (self.slug, self.to, self.domain)


def draw(world: World, rng: random.Random) -> Draw:
    slug = rng.choice(SLUGS)
    life = world.slugs.get(slug)
    choices = CHOICES[life.state if life else "nobody"]
    step = rng.choices(list(choices), list(choices.values()))[0]
    own = sorted(life.domains) if life else []
    domain = rng.choice(own if own and rng.random() < 0.7 else DOMAINS)
    return Draw(step, slug, rng.choice(SLUGS), domain, rng.uniform(0.5, 20))


@dataclass
class Move:
    """One step, before it is taken.

    Attributes:
        act: takes it.
        done: writes into the model what it has come to; called once.
        refusal: the error that must come of it; None: none.
        second: what else may come of it where two take it at once; empty: both must succeed.
        happened: whether what the registry has of the slugs shows that it has happened.
        also: hosts besides the slug's where it is to be seen.
    """

    act: Callable[[Administrator], Awaitable[Any]]
    done: Callable[[Any], None]
    refusal: type[TenancyError] | None = None
    second: tuple[type[TenancyError], ...] = ()
    happened: Callable[[dict[str, Any]], bool] | None = None
    also: list[str] = field(default_factory=list)


def move(world: World, drawn: Draw) -> Move:
    """Return the step that was *drawn*, as the model stands now that its names are held."""
    life = world.slugs.get(drawn.slug)
    if life is None and drawn.step != "create":
        return Move(_ACTS[drawn.step](drawn), _nothing, UnknownTenantError)
    return _MOVES[drawn.step](world, drawn, life)


def _nothing(_: object) -> None:
    pass


def _create(world: World, drawn: Draw, life: Life | None) -> Move:
    domains = [drawn.domain] if drawn.seconds < 10 else []

    def done(profile: Any) -> None:
        tenant = profile.tenant
        made = Life(str(tenant.id), tenant.schema, drawn.slug, domains=set(domains))
        made.primary = domains[0] if domains else None
        world.ever.append(made)
        world.slugs[drawn.slug] = made
        world.domains.update(dict.fromkeys(domains, made))
        world.former.pop(drawn.slug, None)

    refusal: type[TenancyError] | None = None
    if life is not None:
        refusal = SlugTakenError
    elif domains and drawn.domain in world.domains:
        refusal = DomainTakenError
    return Move(
        lambda admin: admin.create(drawn.slug, domains),
        done,
        refusal,
        second=(SlugTakenError,),
        happened=lambda rows: drawn.slug in rows,
        also=domains,
    )


def _to(state: str) -> Callable[[World, Draw, Life], Move]:
    def planned(_: World, drawn: Draw, life: Life) -> Move:
        def done(_: object) -> None:
            life.state = state

        refusal = StateConflictError if life.state == "deleting" else None
        changes = life.state != state
        return Move(
            _ACTS[drawn.step](drawn),
            done,
            refusal,
            happened=(lambda rows: rows[drawn.slug]["state"] == state) if changes else None,
        )

    return planned


def _delete(_: World, drawn: Draw, life: Life) -> Move:
    def done(_: object) -> None:
        if life.state != "deleting":
            life.state, life.before = "deleting", life.state

    return Move(
        _ACTS["delete"](drawn),
        done,
        PurgeBegunError if life.begun else None,
        happened=(lambda rows: rows[drawn.slug]["state"] == "deleting")
        if life.state != "deleting"
        else None,
    )


def _restore(_: World, drawn: Draw, life: Life) -> Move:
    def done(_: object) -> None:
        if life.state == "deleting":
            life.state, life.before = life.before, ""

    return Move(
        _ACTS["restore"](drawn),
        done,
        PurgeBegunError if life.begun else None,
        happened=(lambda rows: rows[drawn.slug]["state"] != "deleting")
        if life.state == "deleting"
        else None,
    )


def _purge(world: World, drawn: Draw, life: Life) -> Move:
    def done(_: object) -> None:
        del world.slugs[drawn.slug]
        world.domains = {name: of for name, of in world.domains.items() if of is not life}
        world.former = {slug: of for slug, of in world.former.items() if of is not life}

    return Move(
        _ACTS["purge"](drawn),
        done,
        None if life.state == "deleting" else NotDeletedError,
        second=(LockHeldError, UnknownTenantError),
        happened=lambda rows: drawn.slug not in rows,
        also=sorted(life.domains),
    )


def _rename(world: World, drawn: Draw, life: Life) -> Move:
    def done(_: object) -> None:
        if drawn.to == drawn.slug:
            return
        del world.slugs[drawn.slug]
        world.slugs[drawn.to] = life
        world.former.pop(drawn.to, None)
        world.former[drawn.slug] = life
        life.slug = drawn.to

    taken = drawn.to != drawn.slug and drawn.to in world.slugs
    return Move(
        _ACTS["rename"](drawn),
        done,
        SlugTakenError if taken else None,
        second=(UnknownTenantError,) if drawn.to != drawn.slug else (),
        happened=(lambda rows: drawn.slug not in rows) if drawn.to != drawn.slug else None,
        also=[f"{drawn.to}.example.com"],
    )


def _add_domain(world: World, drawn: Draw, life: Life) -> Move:
    def done(_: object) -> None:
        world.domains[drawn.domain] = life
        if drawn.domain not in life.domains:
            life.domains.add(drawn.domain)
            life.primary = life.primary or drawn.domain

    taken = world.domains.get(drawn.domain, life) is not life
    return Move(
        _ACTS["add_domain"](drawn), done, DomainTakenError if taken else None, also=[drawn.domain]
    )


def _remove_domain(world: World, drawn: Draw, life: Life) -> Move:
    def done(_: object) -> None:
        del world.domains[drawn.domain]
        life.domains.remove(drawn.domain)
        if life.primary == drawn.domain:
            life.primary = None

    unknown = drawn.domain not in life.domains
    return Move(
        _ACTS["remove_domain"](drawn),
        done,
        UnknownDomainError if unknown else None,
        second=(UnknownDomainError,),
        also=[] if unknown else [drawn.domain],
    )


def _make_primary(_: World, drawn: Draw, life: Life) -> Move:
    def done(_: object) -> None:
        life.primary = drawn.domain

    unknown = drawn.domain not in life.domains
    return Move(_ACTS["make_primary"](drawn), done, UnknownDomainError if unknown else None)


def _limit(_world: World, drawn: Draw, _life: Life) -> Move:
    return Move(_ACTS["limit"](drawn), _nothing)


_MOVES: dict[str, Callable[..., Move]] = {
    "create": _create,
    "suspend": _to("suspended"),
    "make_read_only": _to("read_only"),
    "resume": _to("active"),
    "delete": _delete,
    "restore": _restore,
    "purge": _purge,
    "rename": _rename,
    "add_domain": _add_domain,
    "remove_domain": _remove_domain,
    "make_primary": _make_primary,
    "limit": _limit,
}
_ACTS: dict[str, Callable[[Draw], Callable[[Administrator], Awaitable[Any]]]] = {
    "suspend": lambda of: lambda admin: admin.suspend(of.slug),
    "make_read_only": lambda of: lambda admin: admin.make_read_only(of.slug),
    "resume": lambda of: lambda admin: admin.resume(of.slug),
    "delete": lambda of: lambda admin: admin.delete(of.slug, after=timedelta(days=1)),
    "restore": lambda of: lambda admin: admin.restore(of.slug),
    "purge": lambda of: lambda admin: admin.purge(of.slug, early=True),
    "rename": lambda of: lambda admin: admin.rename(of.slug, of.to),
    "add_domain": lambda of: lambda admin: admin.add_domain(of.slug, of.domain, verified=True),
    "remove_domain": lambda of: lambda admin: admin.remove_domain(of.slug, of.domain),
    "make_primary": lambda of: lambda admin: admin.make_primary(of.slug, of.domain),
    "limit": lambda of: lambda admin: admin.limit(of.slug, {limits.STATEMENT_TIMEOUT: of.seconds}),
}
