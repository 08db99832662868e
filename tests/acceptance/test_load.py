"""500 connections at once on a pool of 10: no error, no cross-tenant row, every slot back.

Short form: 4 seconds. Long form (--long): 30 seconds.
"""

import asyncio
import json
import time
from collections import Counter

import pytest
from support.databases import Database
from support.processes import environment, hypercorn

pytestmark = pytest.mark.timeout(180)

CONNECTIONS = 500
HOSTS = ("acme.example.com", "globex.example.com")


async def _client(port: int, number: int, deadline: float, seen: Counter[str]) -> None:
    """One keep-alive connection that writes its tenant's name and reads pages back."""
    host = HOSTS[number % 2]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        turn = 0
        while time.monotonic() < deadline:
            turn += 1
            status, answer = await _ask(reader, writer, host, write=turn % 10 == 1)
            seen[str(status)] += 1
            if status == 200:
                bodies = {note["body"] for note in answer["notes"]}
                seen["crossed"] += len(bodies - {host})
                seen["rows"] += len(answer["notes"])
    finally:
        writer.close()


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, *, write: bool
) -> tuple[int, dict[str, list[dict[str, str]]]]:
    body = json.dumps({"body": host}).encode() if write else b""
    method = "POST" if write else "GET"
    writer.write(
        f"{method} /notes HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.split("content-length: ")[1].split("\r\n")[0])
    content = await reader.readexactly(length)
    return int(head.split(" ", 2)[1]), json.loads(content)


async def test_500_connections_on_a_pool_of_10(database: Database, long: bool) -> None:
    seconds = 30 if long else 4
    settings = database.settings(pool_max_size=10, pool_acquire_timeout_seconds=30.0)
    seen: Counter[str] = Counter()
    async with hypercorn("tenancy.demo:create_app()", env=environment(settings)) as server:
        deadline = time.monotonic() + seconds
        await asyncio.gather(*(_client(server.port, n, deadline, seen) for n in range(CONNECTIONS)))
        await asyncio.sleep(0.6)
        _, ready = await server.get("/readyz")
    print(dict(seen))
    assert set(seen) <= {"200", "201", "rows", "crossed"}
    assert seen["rows"]
    assert seen["crossed"] == 0
    assert ready["pool"]["idle"] == ready["pool"]["size"] <= 10
