"""Whom a view is for: marks on views and blueprints, and how they are found again."""

from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import Any, TypeVar

Marked = TypeVar("Marked")


class Audience(Enum):
    """Whom a view answers."""

    TENANTS = auto()
    """Requests of a tenant, admitted by `authorize`. The default."""
    PUBLIC = auto()
    """Requests of a tenant, whoever asks: its log-in page."""
    EVERYONE = auto()
    """Any request, of no tenant too."""
    OPERATOR = auto()
    """Requests by the operator's host alone."""


class Audiences:
    """The marks of one application's views and blueprints."""

    def __init__(self) -> None:
        self._marks: dict[Any, Audience] = {}

    def mark(self, what: object, audience: Audience) -> None:
        """Put *what*, a view or a blueprint, before *audience*.

        Raises:
            ValueError: it is marked for another.
        """
        if self._marks.setdefault(what, audience) is not audience:
            raise ValueError(f"{what!r} is marked for {self._marks[what].name} already")

    def of(self, view: Callable[..., Any] | None, blueprints: Iterable[Any]) -> Audience:
        """Return whom *view* is for: its own mark, or that of the innermost blueprint with one.

        Args:
            view: None: there is none at this address.
            blueprints: those that it is in, the innermost first.
        """
        while view is not None:
            if view in self._marks:
                return self._marks[view]
            kind = getattr(view, "view_class", None)  # Quart's View.as_view()
            if kind in self._marks:
                return self._marks[kind]
            view = getattr(view, "__wrapped__", None)  # decorators between us and the framework
        for blueprint in blueprints:
            if blueprint in self._marks:
                return self._marks[blueprint]
        return Audience.TENANTS


class Marks:
    """Decorators for views, and functions to put blueprints through.

    A view's own mark counts, then that of the innermost of its blueprints that has one. Put the
    mark anywhere among a view's decorators that use `functools.wraps`.
    """

    def __init__(self) -> None:
        self._audiences = Audiences()

    def exempt(self, what: Marked) -> Marked:
        """Let a view, or a blueprint's, answer requests that have no tenant: sign-up, webhooks."""
        self._audiences.mark(what, Audience.EVERYONE)
        return what

    def public(self, what: Marked) -> Marked:
        """Let a view, or a blueprint's, answer whoever asks of its tenant: a log-in page."""
        self._audiences.mark(what, Audience.PUBLIC)
        return what

    def operator(self, what: Marked) -> Marked:
        """Serve a view, or a blueprint's, at ``TENANCY_OPERATOR_HOSTS`` alone, without a tenant.

        Elsewhere there is nothing at its address (404). Who the operator is, the view must ask:
        `authorize` is about tenants.
        """
        self._audiences.mark(what, Audience.OPERATOR)
        return what

    def tenant_only(self, what: Marked) -> Marked:
        """Serve a view tenants alone, in a blueprint that is marked otherwise."""
        self._audiences.mark(what, Audience.TENANTS)
        return what
