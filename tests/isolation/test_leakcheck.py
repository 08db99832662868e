"""The leak check finds each planted bug, names the request, and calls a clean application clean."""

import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from quart import Quart, request
from support import leaky
from support.databases import SQL, superuser
from support.leaky import Base, Rows

from tenancy import demo, leakcheck
from tenancy.errors import LeakcheckError, LeakFoundError, NothingCheckedError, SettingsError
from tenancy.leakcheck import Kind, Layout, Options, Phase, Report

SEED = 7


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A folder with the tables of the planted applications."""
    (tmp_path / "notes.sql").write_text(leaky.NOTES)
    (tmp_path / "rows.sql").write_text(leaky.SHARED_NOTES)
    return tmp_path


async def _check(app: Base, tables: Path, server: str, **more: Any) -> Report:
    shared = isinstance(app, Rows)
    options: dict[str, Any] = {
        "layout": Layout.ROWS if shared else Layout.SCHEMAS,
        "sql": (tables / ("rows.sql" if shared else "notes.sql"),),
        "seed": SEED,
        "count": 120,
    }
    return await leakcheck.check(app.app, Options(**{**options, **more}), server=server)


# Which phase finds it, besides the first; what is found, and in which request.
PLANTED: list[tuple[type[Base], Phase | None, list[tuple[Kind, str, str]]]] = [
    (
        leaky.SessionPath,
        None,
        [
            (Kind.STATE, "/notes", "setting search_path: expected"),
            (Kind.ANSWER, "GET /notes as", "notes.body of leakcheck"),
        ],
    ),
    (leaky.CommitInTeardown, Phase.ERRORS, [(Kind.KEPT, "POST /notes", "the row is in notes")]),
    (leaky.Cache, None, [(Kind.ANSWER, "GET /notes as leakcheckb", "of leakchecka, in the body")]),
    (leaky.GlobalConnection, Phase.INTERLEAVE, [(Kind.ANSWER, "", "notes.body of leakcheck")]),
    (
        leaky.TemporaryTable,
        None,
        [
            (Kind.ANSWER, "GET /notes as leakcheckb", "of leakchecka, in the body"),
            (Kind.STATE, "GET /notes as leakchecka", "temporary tables: expected nothing, found"),
        ],
    ),
    (leaky.Role, None, [(Kind.STATE, "/notes", "role: expected nothing, found leakcheck_app_")]),
    (leaky.LastTenant, Phase.INTERLEAVE, [(Kind.ANSWER, "GET /notes/", "notes.body of leak")]),
    (leaky.Worker, None, [(Kind.WRITE, "POST /notes", "leakcheckb is in notes of leakchecka")]),
    (leaky.Header, None, [(Kind.ANSWER, "GET /notes/", "in the header x-last-note")]),
    (leaky.EntityTag, None, [(Kind.VALIDATOR, "GET /notes as leakcheckb", "ETag")]),
    (leaky.Stream, Phase.INTERLEAVE, [(Kind.ANSWER, "GET /notes as", "notes.body of leakcheck")]),
    (leaky.MissingWhere, None, [(Kind.ANSWER, "GET /notes/", "notes.body of leakcheck")]),
    (leaky.DeleteWithoutWhere, None, [(Kind.LOST, "DELETE /notes/", "is no longer in notes")]),
    (leaky.SessionSetting, None, [(Kind.STATE, "/notes", "setting app.tenant: expected nothing")]),
    (
        leaky.KeptConnection,
        Phase.CANCEL,
        [(Kind.STATE, "at database call", "the connection: expected given back")],
    ),
    (leaky.Plain, Phase.PLANTS, [(Kind.STATE, "temporary table planted", "temporary tables")]),
]


@pytest.mark.parametrize(
    ("bug", "phase", "expected"), PLANTED, ids=[bug.__name__ for bug, *_ in PLANTED]
)
async def test_a_planted_bug_is_found_with_its_request(
    bug: type[Base],
    phase: Phase | None,
    expected: list[tuple[Kind, str, str]],
    tables: Path,
    server_url: str,
) -> None:
    skipped = frozenset(Phase) - {Phase.ALTERNATE, phase}
    report = await _check(bug(), tables, server_url, skipped=skipped, timeout_seconds=0.5)
    print("\n".join(report.lines()))
    for kind, culprit, what in expected:
        found = [f for f in report.findings if f.kind is kind]
        assert any(what in f.what and culprit in f.request for f in found), (kind, what)
    assert report.exit_code == 7
    with pytest.raises(LeakFoundError, match="run again with --seed 7"):
        report.raise_for_leaks()


@pytest.mark.parametrize(("app", "connections"), [(leaky.Clean, 1), (Rows, 1), (leaky.Listener, 2)])
async def test_an_application_that_leaks_nothing_is_clean(
    app: type[Base], connections: int, tables: Path, server_url: str
) -> None:
    options: dict[str, Any] = {"count": 200, "all_views": True, "pool_size": connections}
    report = await _check(app(), tables, server_url, **options)
    assert list(report.findings) == [], "\n".join(report.lines())
    assert report.is_clean, "\n".join(report.lines())


async def test_the_demo_is_clean_and_all_of_its_views_are_covered(server_url: str) -> None:
    options = Options(seed=SEED, count=250, all_views=True)
    report = await leakcheck.check(demo.create_app, options, server=server_url)
    text = "\n".join(report.lines())
    assert report.is_clean, text
    assert "views       8 of 8 covered" in text
    assert report.tables == ["notes"]
    assert report.requests >= 230
    assert report.looks > 100
    assert report.views["GET /notes"].showed_rows
    report.raise_for_leaks()


async def test_the_same_seed_sends_the_same_requests(tables: Path, server_url: str) -> None:
    sent: list[list[str]] = []
    for _ in range(2):
        app = leaky.Clean().app()
        targets: list[str] = []

        @app.before_request
        async def note(targets: list[str] = targets) -> None:
            targets.append(f"{request.host} {request.method} {request.path}")

        skipped = frozenset({Phase.INTERLEAVE, Phase.CANCEL})
        options = Options(
            layout=Layout.SCHEMAS,
            sql=(tables / "notes.sql",),
            seed=SEED,
            count=60,
            skipped=skipped,
        )
        await leakcheck.check(app, options, server=server_url)
        sent.append(targets)
    assert len(sent[0]) > 50
    assert sent[0] == sent[1]


async def test_where_nothing_was_checked_nothing_is_called_clean(
    tables: Path, server_url: str
) -> None:
    refusing = Quart("refusing")
    refusing.add_url_rule("/notes", "list", lambda: ("", 403))
    told_nothing = Quart("told nothing")
    told_nothing.add_url_rule("/notes", "list", lambda: "nothing of the database")
    for app, words in (
        (refusing, "no view answered both tenants well"),
        (told_nothing, "held a canary of its own tenant"),
    ):
        options = Options(layout=Layout.SCHEMAS, sql=(tables / "notes.sql",), count=0)
        report = await leakcheck.check(app, options, server=server_url)
        assert words in report.gap
        assert not report.is_clean
        assert report.exit_code == 8
        with pytest.raises(NothingCheckedError, match=words):
            report.raise_for_leaks()


async def test_a_view_that_was_not_covered_is_named(tables: Path, server_url: str) -> None:
    app = leaky.Clean()
    app.read = app.refuse  # type: ignore[method-assign]
    options: dict[str, Any] = {"count": 0, "read_only": True}
    report = await _check(app, tables, server_url, **options)
    text = "\n".join(report.lines())
    assert report.is_clean, text
    assert "not covered GET /notes/{note_id}: answered 403 x8" in text
    assert "not covered POST /notes: --read-only" in text
    report = await _check(app, tables, server_url, **options, all_views=True)
    assert report.exit_code == 8


async def test_an_application_cannot_reach_another_database(tables: Path, server_url: str) -> None:
    async with superuser(server_url) as conn:
        before = await conn.fetchval("SELECT count(*) FROM pg_database")
    reached: list[str] = []

    class Elsewhere(leaky.Clean):
        async def start(self) -> None:
            conn = await CONNECT(server_url)  # bound before the check could lead it elsewhere
            reached.append(await conn.fetchval("SELECT current_database()"))

    with pytest.raises(LeakcheckError, match="not the leak check's"):
        await _check(Elsewhere(), tables, server_url)
    assert reached == []
    assert asyncpg.connect is CONNECT
    async with superuser(server_url) as conn:
        assert await conn.fetchval("SELECT count(*) FROM pg_database") == before


async def test_an_application_without_a_url_map_is_asked_by_its_description(
    tables: Path, server_url: str
) -> None:
    last: list[bytes] = [b"nobody's"]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = json.dumps(DESCRIPTION).encode()
        if scope["type"] != "http":
            raise NotImplementedError
        if scope["path"] != "/openapi.json":
            body, last[0] = last[0], (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    options = Options(layout=Layout.SCHEMAS, sql=(tables / "notes.sql",), count=0, seed=SEED)
    report = await leakcheck.check(app, options, server=server_url)
    assert list(report.views) == ["POST /last/{kind}"]
    (finding,) = report.findings
    assert "title of request" in finding.what
    assert "POST /last/" in finding.request
    assert "connections 0 watched" in "\n".join(report.lines())
    assert "state was not checked" in "\n".join(report.lines())


async def test_tables_of_all_kinds_are_filled_and_others_named(
    tmp_path: Path, server_url: str
) -> None:
    (tmp_path / "kinds.sql").write_text(KINDS)
    (tmp_path / "seed.sql").write_text("INSERT INTO named (name) VALUES (:'tenant')")
    found: list[str] = []

    async def setup(conn: asyncpg.Connection, names: tuple[str, str]) -> None:
        found.extend([await conn.fetchval(f"SELECT name FROM {name}.named") for name in names])

    app = Quart("kinds")
    options = Options(
        layout=Layout.SCHEMAS,
        sql=(tmp_path / "kinds.sql",),
        seed_sql=tmp_path / "seed.sql",
        setup=setup,
        count=0,
    )
    report = await leakcheck.check(app, options, server=server_url)
    assert found == ["leakchecka", "leakcheckb"]
    assert report.tables == ["authors", "books", "countries", "named", "odd", "tree"]
    assert list(report.unfilled) == ["impossible"]
    assert "impossible" in "\n".join(report.lines())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layout": Layout.ROWS}, "needs the tables"),
        ({"sql": (SQL / "tenant" / "0001_notes.sql",)}, "TENANCY_SQL_DIR"),
        ({"tenants": ("one", "one")}, "two different names"),
        ({"requests": ("FETCH /notes",)}, "is no request"),
        ({"layout": Layout.ROWS, "sql": (SQL / "missing.sql",)}, "cannot be read"),
    ],
)
async def test_an_option_that_cannot_be_used_is_refused(
    options: dict[str, Any], words: str, server_url: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        await leakcheck.check(Quart("any"), Options(**options), server=server_url)


CONNECT = asyncpg.connect

DESCRIPTION = {
    "openapi": "3.1.0",
    "paths": {
        "/last/{kind}": {
            "post": {
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/components/Last"}}}
                }
            }
        }
    },
    "components": {
        "Last": {
            "type": "object",
            "properties": {
                "title": {"type": "string"},
                "count": {"type": "integer", "minimum": 3},
                "tags": {"type": "array", "items": {"enum": ["new"]}},
            },
        }
    },
}

KINDS = """
    CREATE TYPE mood AS ENUM ('happy', 'sad');
    CREATE DOMAIN email AS text CHECK (VALUE ~ '^[^@]+@[^@]+$');
    CREATE TABLE authors (
        id int PRIMARY KEY, mail email NOT NULL,
        state text NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'old'))
    );
    CREATE TABLE books (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        author_id int NOT NULL REFERENCES authors, title varchar(40) NOT NULL,
        pages int NOT NULL CHECK (pages BETWEEN 0 AND 10), price numeric(5, 2) NOT NULL,
        data jsonb NOT NULL CHECK (jsonb_typeof(data) = 'array'), tags text[] NOT NULL,
        mood mood NOT NULL, day date NOT NULL, cover bytea NOT NULL, seen boolean NOT NULL
    );
    CREATE TABLE impossible (id int PRIMARY KEY, never text NOT NULL CHECK (never IS NULL));
    CREATE TABLE named (name text PRIMARY KEY);
    CREATE TABLE countries (
        code char(2) PRIMARY KEY CHECK (code ~ '^[A-Z]{2}$'), iban varchar(3) NOT NULL
    );
    CREATE TABLE odd (
        "Odd Key" int PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY, "select" text NOT NULL,
        twice text GENERATED ALWAYS AS ("select" || "select") STORED
    );
    CREATE TABLE tree (id serial PRIMARY KEY, parent int REFERENCES tree, label text UNIQUE);
"""
