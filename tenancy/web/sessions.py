"""Quart's session, bound to the tenant it was made for.

A cookie on a parent domain, or the one origin of path prefixes, carries a session from one tenant
to the next: user 1 of one would be user 1 of the other.
"""

from quart import Response, session
from quart.sessions import SessionMixin

from tenancy import tenant

KEY = "_tenancy"
PERMANENT = "_permanent"  # Quart's own, which many applications set for everybody
OPERATOR = "operator"
NOBODY = ""


def hide() -> bool:
    """Let nobody see the client's session unless it was made here.

    One made for another tenant, for the operator or for nobody is empty for this request; the
    client keeps it, unless the view writes a new one.

    Returns:
        Whether it was made for another tenant, or for the operator.
    """
    current = _current()
    if not current:
        return False
    made_for = _made_for(current)
    if made_for == _here():
        return False
    current.clear()
    # Unwritten, so that nothing is sent: the client may go back to the tenant it was made for.
    current.modified = False
    return made_for != NOBODY


async def bind(response: Response) -> Response:
    """Write into a session that the view has written for whom it was made."""
    current = _current()
    if current.modified and current:
        if set(current) <= {KEY, PERMANENT}:
            # Nothing is in it: whoever has logged out, or never was in, is of no tenant.
            current.clear()
        elif (here := _here()) != _made_for(current):
            current[KEY] = here
    return response


def _current() -> SessionMixin:
    current: SessionMixin = session._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    return current


def _made_for(current: SessionMixin) -> str:
    accessed = current.accessed
    made_for = current.get(KEY, NOBODY)
    current.accessed = accessed  # our look is none of the view's: it would add Vary to all answers
    return made_for if isinstance(made_for, str) else NOBODY


def _here() -> str:
    """Return whom a session made now is for."""
    request = tenant.request()
    if request is None:
        return NOBODY
    if request.operator:
        return OPERATOR
    return str(request.tenant.id) if request.tenant is not None else NOBODY
