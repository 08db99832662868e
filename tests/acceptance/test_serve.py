"""`python -m tenancy serve --demo`, as a person meets it."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.databases import Database
from support.processes import Served, environment, run, served

from tenancy.demo import create_app

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def data_dir(scratch: Path) -> Iterator[Path]:
    path = scratch / "demo"
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
async def demo(database: Database) -> AsyncIterator[Any]:
    """A client of the demo application, in this process."""
    async with create_app(database.settings()).test_app() as running:
        yield running.test_client()


def _servers(data_dir: Path) -> list[psutil.Process]:
    """Every process that works on this data directory, or belongs to the embedded server."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(data_dir) in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.pid != os.getpid()]


async def _nothing_left(data_dir: Path, seconds: float = 15) -> None:
    for _ in range(int(seconds / 0.1)):
        if not _servers(data_dir):
            return
        await asyncio.sleep(0.1)
    raise AssertionError([process.cmdline() for process in _servers(data_dir)])


async def _write(server: Served, host: str, body: str) -> int:
    status, note = await server.post("/notes", {"body": body}, host)
    assert status == 201, note
    return int(note["id"])


async def _read(server: Served, host: str) -> list[str]:
    status, page = await server.get("/notes", host)
    assert status == 200, page
    return [note["body"] for note in page["notes"]]


async def test_the_demo_serves_two_tenants_and_takes_its_data_up_again(data_dir: Path) -> None:
    env = environment(TENANCY_DATA_DIR=str(data_dir))
    async with served("--demo", env=env, cwd=data_dir.parent) as server:
        assert await _write(server, "acme.localhost", "a") == 1
        assert await _write(server, "globex.localhost", "g") == 1
        assert await _read(server, "acme.localhost") == ["a"]
        assert await _read(server, "globex.localhost") == ["g"]
        assert (await server.get("/notes", "nobody.localhost"))[0] == 404
        assert "".join(server.err).count("Running on") == 1
        server.signal(signal.SIGTERM)
        assert await server.ended() == 0
    await _nothing_left(data_dir)
    async with served("--demo", env=env, cwd=data_dir.parent) as server:
        assert await _read(server, "acme.localhost") == ["a"]
        server.signal(signal.SIGINT)
        assert await server.ended() == 0
    await _nothing_left(data_dir)


async def test_the_demo_serves_at_level_strict_with_no_more_than_its_name(data_dir: Path) -> None:
    env = environment(TENANCY_DATA_DIR=str(data_dir), TENANCY_ISOLATION="strict")
    async with served("--demo", env=env, cwd=data_dir.parent) as server:
        assert await _write(server, "acme.localhost", "a") == 1
        assert await _read(server, "globex.localhost") == []
        assert await _read(server, "acme.localhost") == ["a"]
        assert (await server.get("/languages", "acme.localhost"))[0] == 200
        server.signal(signal.SIGTERM)
        assert await server.ended() == 0
    await _nothing_left(data_dir)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl to paste the printed lines")
async def test_the_printed_curl_lines_work_when_pasted(data_dir: Path) -> None:
    env = environment(TENANCY_DATA_DIR=str(data_dir))
    async with served("--demo", env=env, cwd=data_dir.parent) as server:
        text = "".join(server.out)
        lines = re.findall(r"^\s*(curl .*)$", text, re.MULTILINE)
        assert len(lines) == 2, text
        for slug, line in zip(("acme", "globex"), lines, strict=True):
            pasted = await asyncio.create_subprocess_shell(
                line, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
            )
            out, _ = await pasted.communicate()
            assert f"first note of {slug}" in out.decode()
            assert f"http://{slug}.localhost:{server.port}/notes" in text


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_kill_9_leaves_nothing_running_and_loses_nothing_acknowledged(
    data_dir: Path, workers: str
) -> None:
    env = environment(TENANCY_DATA_DIR=str(data_dir))
    acknowledged: list[str] = []
    killed: list[bool] = []

    async def write(server: Served, writer: int) -> None:
        for n in range(1000):
            try:
                status, _ = await server.post("/notes", {"body": f"{writer}-{n}"}, "acme.localhost")
            except (OSError, asyncio.IncompleteReadError):
                return
            if status != 201:  # a worker that has outlived its database by a moment
                assert (status, killed) == (503, [True])
                return
            acknowledged.append(f"{writer}-{n}")

    async with served("--demo", "--workers", workers, env=env, cwd=data_dir.parent) as server:
        writers = [asyncio.create_task(write(server, n)) for n in range(4)]
        await asyncio.sleep(1)
        children = psutil.Process(server.process.pid).children(recursive=True)
        killed.append(True)
        server.signal(signal.SIGKILL)
        await asyncio.gather(*writers)
        await server.ended()
    await _nothing_left(data_dir)
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, 10)
    assert not alive
    assert acknowledged
    async with served("--demo", env=env, cwd=data_dir.parent) as server:
        found: set[str] = set()
        after: int | None = 0
        while after is not None:
            _, page = await server.get(f"/notes?limit=100&after={after}")
            found |= {note["body"] for note in page["notes"]}
            after = page["next"]
    assert set(acknowledged) <= found


async def _fails(*arguments: str, cwd: Path, **env: str) -> str:
    result = await run("-m", "tenancy", "serve", *arguments, env=environment(None, **env), cwd=cwd)
    assert result.code != 0
    lines = result.err.strip().splitlines()
    assert len(lines) == 1, result.err
    return lines[0]


async def test_a_taken_port_is_one_clear_line(data_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        line = await _fails(
            "--demo", "--port", port, cwd=data_dir.parent, TENANCY_DATA_DIR=str(data_dir)
        )
    assert port in line
    assert "--port" in line
    assert not data_dir.exists()


async def test_a_data_directory_that_is_none_is_one_clear_line(data_dir: Path) -> None:
    data_dir.write_text("a file")
    try:
        line = await _fails(
            "--demo", "--port", "0", cwd=data_dir.parent, TENANCY_DATA_DIR=str(data_dir)
        )
    finally:
        data_dir.unlink()
    assert str(data_dir) in line


async def test_a_misspelt_setting_is_one_clear_line(data_dir: Path) -> None:
    line = await _fails("--demo", "--port", "0", cwd=data_dir.parent, TENANCY_POOL_MAXSIZE="3")
    assert "TENANCY_POOL_MAXSIZE" in line
    assert "TENANCY_POOL_MAX_SIZE" in line


async def test_an_application_that_cannot_be_loaded_is_one_clear_line(data_dir: Path) -> None:
    line = await _fails(
        "nowhere:app", "--port", "0", cwd=data_dir.parent, TENANCY_DATA_DIR=str(data_dir)
    )
    assert "nowhere:app" in line
    assert "module:expression" in line


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_an_application_that_raises_is_one_clear_line_with_its_place(
    database: Database, tmp_path: Path, workers: str
) -> None:
    (tmp_path / "broken.py").write_text("import os\n\nKEY = os.environ['NO_SUCH_KEY']\n")
    for target, words in (
        ("broken:app", "broken.py:3: KeyError: 'NO_SUCH_KEY'"),
        ("tenancy.demo:create_app", "write tenancy.demo:create_app()"),
    ):
        line = await _fails(
            target, "--workers", workers, "--port", "0",
            cwd=tmp_path, TENANCY_DATABASE_URL=database.app_url,
        )  # fmt: skip
        assert words in line


async def test_workers_that_do_not_come_up_are_no_success(
    database: Database, tmp_path: Path
) -> None:
    (tmp_path / "lone.py").write_text(
        "import multiprocessing\n\nasync def app(scope, receive, send): ...\n\n"
        "if multiprocessing.parent_process():\n    raise SystemError('only in a worker')\n"
    )
    env = environment(database.settings())
    result = await run(
        "-m", "tenancy", "serve", "lone:app", "--workers", "2", "--port", "0", env=env, cwd=tmp_path
    )
    assert result.code == 1, result.err
    assert "a worker has ended by itself" in result.err


async def test_workers_that_are_told_to_end_are_a_success(database: Database) -> None:
    env = environment(database.settings())
    async with served("tenancy.demo:create_app()", "--workers", "2", env=env) as server:
        server.signal(signal.SIGTERM)
        assert await server.ended() == 0


async def test_a_second_server_on_the_same_data_is_refused_and_commands_are_not(
    data_dir: Path,
) -> None:
    env = environment(TENANCY_DATA_DIR=str(data_dir))
    async with served("--demo", env=env, cwd=data_dir.parent) as server:
        line = await _fails(
            "--demo", "--port", "0", cwd=data_dir.parent, TENANCY_DATA_DIR=str(data_dir)
        )
        assert "another process serves" in line
        listed = await run(
            "-m", "tenancy", "tenants", "list", "--json", env=env, cwd=data_dir.parent
        )
        assert [json.loads(row)["slug"] for row in listed.out.splitlines()] == ["acme", "globex"]
        assert await _read(server, "acme.localhost") == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b'{"body": "\xff"}', 400),
        (b"[" * 100_000, 400),
        (b"", 400),
        (b"null", 422),
        (b"{}", 422),
        (b'{"body": ""}', 422),
        (b'{"body": 1}', 422),
        (b'{"body": "a\\u0000b"}', 422),
        (b'{"body": "\\ud800"}', 422),
        (b'{"body": "' + b"x" * 10_001 + b'"}', 422),
        (b'{"body": "' + b"x" * 2_000_000 + b'"}', 413),
    ],
)
async def test_a_bad_note_has_its_answer(demo: Any, body: bytes, status: int) -> None:
    answer = await demo.post(
        "/notes",
        data=body,
        headers={"Host": "acme.example.com", "Content-Type": "application/json"},
    )
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    if body == b'{"body": 1}':
        assert (await answer.get_json(force=True))["errors"][0]["field"] == "body"


async def test_notes_are_made_read_changed_deleted_and_paged(demo: Any) -> None:
    acme, globex = ({"Host": f"{slug}.example.com"} for slug in ("acme", "globex"))
    for n in range(1, 6):
        made = await demo.post("/notes", json={"body": f"note {n}"}, headers=acme)
        assert (made.status_code, (await made.get_json())["id"]) == (201, n)
    page = await (await demo.get("/notes?limit=2", headers=acme)).get_json()
    assert ([note["id"] for note in page["notes"]], page["next"]) == ([1, 2], 2)
    page = await (await demo.get("/notes?limit=3&after=2", headers=acme)).get_json()
    assert ([note["id"] for note in page["notes"]], page["next"]) == ([3, 4, 5], None)
    changed = await demo.put("/notes/1", json={"body": "changed"}, headers=acme)
    assert (await changed.get_json())["body"] == "changed"
    assert (await demo.get("/notes/1", headers=globex)).status_code == 404
    assert (await demo.put("/notes/1", json={"body": "x"}, headers=globex)).status_code == 404
    assert (await demo.delete("/notes/1", headers=globex)).status_code == 404
    assert (await demo.delete("/notes/1", headers=acme)).status_code == 204
    for path in ("/notes/1", "/notes/99999999999999999999", "/notes/0", "/nowhere"):
        assert (await demo.get(path, headers=acme)).status_code == 404
    for query in ("limit=0", "limit=101", "limit=x", "after=-1", "after=9223372036854775808"):
        assert (await demo.get(f"/notes?{query}", headers=acme)).status_code == 422
    refused = await demo.patch("/notes", headers=acme)
    assert refused.status_code == 405
    assert "POST" in refused.headers["Allow"]
    assert len((await (await demo.get("/languages", headers=acme)).get_json())["languages"]) == 5


async def test_the_demo_describes_itself_on_any_host(demo: Any) -> None:
    answer = await demo.get("/openapi.json", headers={"Host": "example.com"})
    paths = (await answer.get_json())["paths"]
    assert set(paths) == {"/notes", "/notes/{note_id}", "/languages"}


async def test_an_unreachable_database_is_one_clear_line_without_the_password() -> None:
    line = await _fails(
        "--migrate", "--port", "0", cwd=ROOT,
        TENANCY_DATABASE_URL="postgresql://someone:hunter2@127.0.0.1:1/nothing",
    )  # fmt: skip
    assert "hunter2" not in line
    assert "does not answer" in line
