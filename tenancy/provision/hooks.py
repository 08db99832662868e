"""What a deployment does at each step of a tenant's life: async functions, called in order.

``TENANCY_HOOKS=myapp.life:hooks`` names the object for the commands and the operator's API.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import asyncpg

from tenancy import loading
from tenancy.errors import HookFailedError, SettingsError, TenancyError
from tenancy.provision.actor import Actor

if TYPE_CHECKING:
    from tenancy.provision.profiles import Profile

_log = logging.getLogger(__name__)


class Step(StrEnum):
    """What can be done to a tenant; the audit's ``action``."""

    CREATE = "create"
    ADOPT = "adopt"
    LIMIT = "limit"
    RENAME = "rename"
    SUSPEND = "suspend"
    READ_ONLY = "read_only"
    RESUME = "resume"
    DELETE = "delete"
    RESTORE = "restore"
    PURGE = "purge"
    ADD_DOMAIN = "add_domain"
    REMOVE_DOMAIN = "remove_domain"
    MAKE_PRIMARY = "make_primary"
    VERIFY_DOMAIN = "verify_domain"
    EXPORT = "export"
    IMPORT = "import"
    CLONE = "clone"
    MOVE = "move"
    SHELL = "shell"
    CREATE_REPORT = "create_report"
    DROP_REPORT = "drop_report"
    CREATE_TOKEN = "create_token"  # noqa: S105 - a step's name
    REVOKE_TOKEN = "revoke_token"  # noqa: S105 - a step's name


class Moment(StrEnum):
    """When a hook is called."""

    BEFORE = "before"  # first in the step's transaction
    AFTER = "after"  # last in the step's transaction: what it raises undoes the step
    COMMITTED = "committed"  # after the COMMIT: what it raises is logged, and undoes nothing


@dataclass(slots=True, eq=False)
class Event:
    """One step on its way.

    Attributes:
        step: which one.
        slug: the tenant's, as it was asked for; empty: it is about none.
        actor: on whose behalf.
        conn: of the step's transaction, as the owner of schemas; None once it is committed.
        profile: the tenant; None: there is none yet, or no more.
        detail: what else was asked for, as JSON has it; the audit keeps it, so no row of a tenant.
        reason: in the actor's words.
        done_in: the transaction whose COMMIT makes the step done, once the audit's row is in it.
        unchanged: nothing was to be done: it was so already. No further hook is called.
    """

    step: Step
    slug: str
    actor: Actor
    conn: asyncpg.Connection | None
    profile: "Profile | None" = None
    detail: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    done_in: str | None = None
    unchanged: bool = False


Hook = Callable[[Event], Awaitable[object]]


class Hooks:
    """Hooks of a deployment: ``@hooks.after(Step.CREATE)`` in front of an async function."""

    def __init__(self) -> None:
        self._hooks: dict[tuple[Moment, Step], list[Hook]] = {}

    def before(self, *steps: Step) -> Callable[[Hook], Hook]:
        """Call it first in the transaction of *steps*; what it raises refuses the step."""
        return self._adder(Moment.BEFORE, steps)

    def after(self, *steps: Step) -> Callable[[Hook], Hook]:
        """Call it last in the transaction of *steps*; what it raises undoes the step."""
        return self._adder(Moment.AFTER, steps)

    def committed(self, *steps: Step) -> Callable[[Hook], Hook]:
        """Call it after *steps* were committed; what it raises is logged, and undoes nothing."""
        return self._adder(Moment.COMMITTED, steps)

    async def run(self, moment: Moment, event: Event) -> None:
        """Call the hooks of *moment*, in the order in which they were added."""
        for hook in self._hooks.get((moment, event.step), ()):
            try:
                await hook(event)
            except Exception as error:
                if moment is Moment.COMMITTED:
                    name = _name(hook)
                    _log.exception("the hook %s failed; the step %s stands", name, event.step)
                elif isinstance(error, TenancyError):
                    raise  # its own refusal
                else:
                    raise _failure(hook, event, loading.told(error)) from error
            if event.conn is not None:
                await _refuse_ended(event.conn, hook, event)

    def _adder(self, moment: Moment, steps: tuple[Step, ...]) -> Callable[[Hook], Hook]:
        if not steps:
            raise TypeError(f"name the steps: @hooks.{moment}(Step.CREATE)")

        def add(hook: Hook) -> Hook:
            for step in steps:
                self._hooks.setdefault((moment, step), []).append(hook)
            return hook

        return add


def load(target: str | None) -> Hooks:
    """Return the hooks that *target* names, in the notation ``module:object``; None: no hooks.

    Raises:
        SettingsError: there are none, or their module fails; says where.
    """
    if target is None:
        return Hooks()
    found = loading.find(target)
    if not isinstance(found, Hooks):
        raise SettingsError(
            f"TENANCY_HOOKS={target} is of type {type(found).__name__}: make it "
            "tenancy.provision.Hooks()"
        )
    return found


async def _refuse_ended(conn: asyncpg.Connection, hook: Hook, event: Event) -> None:
    """Raise where *hook* has left no transaction, or one that cannot be committed."""
    if not conn.is_in_transaction():
        raise _failure(hook, event, ": it ended the transaction, which is not its own")
    try:
        await conn.execute("SELECT")
    except asyncpg.InFailedSQLTransactionError as error:
        why = ": it passed over an error of the server's, which has undone the transaction"
        raise _failure(hook, event, why) from error


def _failure(hook: Hook, event: Event, why: str) -> HookFailedError:
    return HookFailedError(
        f"the hook {_name(hook)} failed{why}; {event.step} of {event.slug!r} was not done"
    )


def _name(hook: Hook) -> str:
    return str(getattr(hook, "__qualname__", repr(hook)))
