"""A small real application on top: each tenant's notes.

``hypercorn -c config/hypercorn.toml "tenancy.demo:create_app()"``
"""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field
from quart import Blueprint, Quart, abort, current_app
from quart_schema import validate_querystring, validate_request, validate_response

from tenancy import app as base
from tenancy.extension import Tenancy
from tenancy.settings import Settings

MAX_BODY_LENGTH = 10_000
MAX_PAGE_SIZE = 100
MAX_ID = 2**63 - 1

blueprint = Blueprint("notes", __name__)


def _storable(text: str) -> str:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("holds NUL or a lone surrogate, which PostgreSQL cannot store")
    return text


Text = Annotated[str, Field(min_length=1, max_length=MAX_BODY_LENGTH), AfterValidator(_storable)]


class Draft(BaseModel):
    """What a client writes."""

    body: Text


class Note(BaseModel):
    """What a client reads."""

    id: int
    body: str
    created_at: datetime
    updated_at: datetime


class Page(BaseModel):
    """Some notes, oldest first; ``next`` is the following page's ``after``, null at the end."""

    notes: list[Note]
    next: int | None


class Position(BaseModel):
    """Where a page begins and how long it is."""

    after: int = Field(default=0, ge=0, le=MAX_ID)
    limit: int = Field(default=20, ge=1, le=MAX_PAGE_SIZE)


class Language(BaseModel):
    """A row of the shared schema, the same for every tenant."""

    code: str
    name: str


class Languages(BaseModel):
    """All of them."""

    languages: list[Language]


_COLUMNS = "id, body, created_at, updated_at"


def create_app(settings: Settings | None = None) -> Quart:
    """Return the demo; as `tenancy.app.create_app`."""
    app = base.create_app(settings, title="tenancy demo: notes")
    app.register_blueprint(blueprint)
    return app


def _tenancy() -> Tenancy:
    extension: Tenancy = current_app.extensions["tenancy"]
    return extension


@blueprint.post("/notes")
@validate_request(Draft)
@validate_response(Note, 201)
async def create_note(data: Draft) -> tuple[Note, int]:
    """Write a note."""
    async with _tenancy().transaction() as conn:
        row = await conn.fetchrow(
            f"INSERT INTO notes (body) VALUES ($1) RETURNING {_COLUMNS}", data.body
        )
    return _note(row), 201


@blueprint.get("/notes")
@validate_querystring(Position)
@validate_response(Page)
async def list_notes(query_args: Position) -> Page:
    """Read notes, a page at a time."""
    async with _tenancy().transaction(readonly=True) as conn:
        rows = await conn.fetch(
            f"SELECT {_COLUMNS} FROM notes WHERE id > $1 ORDER BY id LIMIT $2",
            query_args.after,
            query_args.limit + 1,
        )
    page = [_note(row) for row in rows[: query_args.limit]]
    return Page(notes=page, next=page[-1].id if len(rows) > len(page) else None)


@blueprint.get("/notes/<int:note_id>")
@validate_response(Note)
async def read_note(note_id: int) -> Note:
    """Read one note."""
    async with _tenancy().transaction(readonly=True) as conn:
        row = await conn.fetchrow(f"SELECT {_COLUMNS} FROM notes WHERE id = $1", _id(note_id))
    return _found(row)


@blueprint.put("/notes/<int:note_id>")
@validate_request(Draft)
@validate_response(Note)
async def edit_note(note_id: int, data: Draft) -> Note:
    """Replace a note's body."""
    async with _tenancy().transaction() as conn:
        row = await conn.fetchrow(
            f"UPDATE notes SET body = $2, updated_at = now() WHERE id = $1 RETURNING {_COLUMNS}",
            _id(note_id),
            data.body,
        )
    return _found(row)


@blueprint.delete("/notes/<int:note_id>")
async def delete_note(note_id: int) -> tuple[str, int]:
    """Delete a note."""
    async with _tenancy().transaction() as conn:
        row = await conn.fetchrow(
            f"DELETE FROM notes WHERE id = $1 RETURNING {_COLUMNS}", _id(note_id)
        )
    _found(row)
    return "", 204


@blueprint.get("/languages")
@validate_response(Languages)
async def list_languages() -> Languages:
    """Read reference data that all tenants share."""
    async with _tenancy().transaction(readonly=True) as conn:
        rows = await conn.fetch("SELECT code, name FROM languages ORDER BY code")
    return Languages(languages=[Language(**dict(row)) for row in rows])


def _id(note_id: int) -> int:
    return note_id if note_id <= MAX_ID else abort(404)


def _found(row: Any) -> Note:
    return _note(row) if row is not None else abort(404)


def _note(row: Any) -> Note:
    return Note(**dict(row))
