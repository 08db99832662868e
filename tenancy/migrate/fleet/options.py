"""What is asked of a run: of the command and of the library, checked in one place; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

from tenancy.errors import TenancyError
from tenancy.migrate.files.model import Files
from tenancy.migrate.files.versions import spelled
from tenancy.migrate.fleet import shapes, waves
from tenancy.migrate.fleet.amounts import Amount
from tenancy.migrate.ledger.selection import Selection
from tenancy.tenant import State

PARALLEL = 4
PARALLEL_CONCURRENT = 2
MOST_PARALLEL = 64
GRACE_SECONDS = 30.0

_SELECTS = ("tenants", "exclude", "states", "at", "behind", "where")


class InvalidOptionsError(TenancyError, ValueError):
    """An option of a run cannot be followed; names it, and what it may be.

    Attributes:
        words: the message without those names.
        options: the fields of `Options` that are at fault; a command calls them something else.
    """

    code = "invalid_options"
    exit_code = 2

    def __init__(self, words: str, *options: str) -> None:
        super().__init__(f"{' and '.join(options)}: {words}" if options else words)
        self.words = words
        self.options = options


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How the schemas are brought to what the files say.

    Attributes:
        target: the version at which tenants are to stand; None: that of the newest file. Those
            that are beyond it are left alone.
        parallel: tenants at a time, each on a connection of its own.
        parallel_concurrent: as *parallel*, for files that are no single transaction.
        canary: who comes first and must not fail: a number, a share (``5%``) or slugs
            (``acme,globex``), ``0`` for nobody. None: one tenant where there are more than 20.
        wave_size: how many tenants after that before a pause: a number or a share; None: all.
        soak_seconds: the pause after the canary and after each wave but the last one.
        max_failures: how many may fail before the run is stopped, a number or a share; None: any
            number. Three in a row that fail alike stop it too, except with ``100%``.
        tenants, exclude: slugs; those alone, and not those. The catalog and the shared schema are
            brought up besides.
        states: of tenants; empty: all but ``deleting``.
        at, behind: tenants whose last file is of this version, or of an earlier one.
        where: keys of a tenant's settings, with what they must say as text.
        join: share the work of a run that is under way, where it has the same files.
        fingerprints: compare the shapes of upgraded schemas that have the same files: of all, of
            none, or (None) of the canary's and of one in a hundred.
        strict_shape: a shape that differs is a failure; all are compared.
        grace_seconds: how long those under way may go on after a stop.

    Raises:
        InvalidOptionsError: a value cannot be used.
    """

    target: str | None = None
    parallel: int = PARALLEL
    parallel_concurrent: int = PARALLEL_CONCURRENT
    canary: str | None = None
    wave_size: str | None = None
    soak_seconds: float = 0.0
    max_failures: str | None = None
    tenants: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    at: str | None = None
    behind: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    join: bool = False
    fingerprints: bool | None = None
    strict_shape: bool = False
    grace_seconds: float = GRACE_SECONDS

    def __post_init__(self) -> None:
        for name in ("tenants", "exclude", "states"):
            self._set(name, _words(name, getattr(self, name)))
        for name in ("target", "at", "behind"):
            self._set(name, None if getattr(self, name) is None else str(getattr(self, name)))
        for name in ("wave_size", "max_failures"):
            self._set(name, _amount(name, getattr(self, name)))
        self._set("canary", _canary(self.canary))
        self._set("where", dict(self.where))
        _check(self)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # frozen for everybody else

    @property
    def shapes_one_in(self) -> int:
        """How many upgraded schemas there are to one whose shape is looked at; 0: it never is."""
        if self.fingerprints is None:
            return 1 if self.strict_shape else shapes.ONE_IN
        return int(self.fingerprints)

    def selection_in(self, files: Files) -> Selection:
        """Return which tenants are meant, with versions as *files* write them."""
        known = [one.version for one in files.tenant]
        at, behind = (
            None if version is None else spelled(version, known)
            for version in (self.at, self.behind)
        )
        where = tuple(sorted(self.where.items()))
        return Selection(self.tenants, self.exclude, self.states, at, behind, where)

    def until_in(self, files: Files) -> str | None:
        """Return the version at which tenants are to stand, as *files* write it; None: the newest.

        Raises:
            UnknownVersionError: no file has it.
        """
        return None if self.target is None else files.until(self.target).tenant[-1].version

    def to_json(self) -> dict[str, Any]:
        """Return what differs from the defaults; ``select`` holds what chooses tenants."""
        given = {
            one.name: value
            for one in fields(self)
            if (value := getattr(self, one.name)) != getattr(_DEFAULTS, one.name)
        }
        chosen = {name: given.pop(name) for name in _SELECTS if name in given}
        return {**given, **({"select": chosen} if chosen else {})}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Return the options of a run from the ledger; a newer build's that are not known here end.

        Raises:
            InvalidOptionsError: names what is not known.
        """
        given = {**stored, **stored.get("select", {})}
        given.pop("select", None)
        unknown = sorted(set(given) - {one.name for one in fields(cls)})
        if unknown:
            raise InvalidOptionsError(
                f"the run was begun by a newer build, with {', '.join(unknown)}: resume with that"
            )
        return cls(**given)


def _words(name: str, value: str | Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise InvalidOptionsError(f"{value!r} is one string: give a list, as ({value!r},)", name)
    return tuple(dict.fromkeys(str(word) for word in value))


def _amount(name: str, value: str | int | None) -> str | None:
    if value is None:
        return None
    try:
        Amount.parse(value)
    except ValueError as error:
        raise InvalidOptionsError(str(error), name) from None
    return str(value).strip()


def _canary(value: str | int | Sequence[str] | None) -> str | None:
    if value is None:
        return None
    written = str(value).strip() if isinstance(value, str | int) else ",".join(value)
    if written[:1].isdigit():
        return _amount("canary", written)
    if not waves.slugs(written):
        raise InvalidOptionsError("names nobody: write 1, 5% or acme,globex; 0 for none", "canary")
    return written


def _check(options: Options) -> None:
    for name in ("parallel", "parallel_concurrent"):
        if not 1 <= getattr(options, name) <= MOST_PARALLEL:
            raise InvalidOptionsError(
                f"{getattr(options, name)} is not in the range from 1 to {MOST_PARALLEL}", name
            )
    for name in ("soak_seconds", "grace_seconds"):
        if not 0 <= getattr(options, name) < float("inf"):
            raise InvalidOptionsError(
                f"{getattr(options, name)} is no time: give seconds, 0 or more", name
            )
    wrong = sorted(set(options.states) - set(State))
    if wrong:
        raise InvalidOptionsError(
            f"{', '.join(wrong)} is no state of a tenant: they are {', '.join(State)}", "states"
        )
    if options.wave_size is not None and not Amount.parse(options.wave_size).number:
        raise InvalidOptionsError("0 is no size: give a number or a share above that", "wave_size")
    both = sorted(set(options.tenants) & set(options.exclude))
    if options.strict_shape and options.fingerprints is False:
        raise InvalidOptionsError(
            "shapes are compared by fingerprints, so leave one of the two out",
            *("strict_shape", "fingerprints"),
        )
    if both:
        raise InvalidOptionsError(
            f"{', '.join(both)} is both chosen and excluded", "tenants", "exclude"
        )


_DEFAULTS = Options()
