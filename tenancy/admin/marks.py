"""What each view asks of who uses it; a view without a mark is used by nobody."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from tenancy.provision.tokens import Scope

View = TypeVar("View", bound=Callable[..., Any])

_ATTRIBUTE = "_tenancy_admin_needs"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a view asks.

    Attributes:
        scope: of the token; None: anybody may look.
        if_match: whether it takes ``If-Match``, and whether it answers 428 without.
        if_none_match: whether it answers 304 to who has it already.
        idempotency_key: whether it takes ``Idempotency-Key``.
    """

    scope: Scope | None
    if_match: bool | None = None
    if_none_match: bool = False
    idempotency_key: bool = False


def needs(
    scope: Scope | None,
    *,
    if_match: bool | None = None,
    if_none_match: bool = False,
    idempotency_key: bool = False,
) -> Callable[[View], View]:
    """Mark a view; right below its route.

    Args:
        scope: of the token; None: anybody may look.
        if_match: True: required; False: may be sent; None: means nothing here.
        if_none_match: see `Needs`.
        idempotency_key: see `Needs`.
    """
    asked = Needs(scope, if_match, if_none_match, idempotency_key)

    def mark(view: View) -> View:
        setattr(view, _ATTRIBUTE, asked)
        return view

    return mark


def of(view: Callable[..., Any] | None) -> Needs | None:
    """Return what *view* asks; None: it has no mark."""
    found: Needs | None = getattr(view, _ATTRIBUTE, None)
    return found
