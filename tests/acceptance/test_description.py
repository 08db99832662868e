"""What /openapi.json says of the demo is what it does: schemathesis finds no 500 and no surprise.

Short form: 30 examples for each operation and phase. Long form (--long): 1,000.
"""

import os
from pathlib import Path

import pytest
from support.clients import all_is_quiet
from support.databases import Database
from support.processes import environment, hypercorn, run

pytestmark = pytest.mark.timeout(3600)

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "response_headers_conformance", "unsupported_method"),
)


async def test_every_answer_is_one_that_is_described(
    database: Database, seed: int, long: bool, tmp_path: Path
) -> None:
    async with hypercorn(
        "tenancy.demo:create_app()", env=environment(database.settings())
    ) as server:
        result = await run(
            *("-m", "schemathesis.cli", "run", f"http://127.0.0.1:{server.port}/openapi.json"),
            *("--header", "Host: acme.example.com", "--checks", ",".join(CHECKS)),
            *("--max-examples", "1000" if long else "30", "--seed", str(seed)),
            *("--mode", "all", "--generation-database", "none"),
            env={**os.environ, "PYTHONUTF8": "1"},
            cwd=tmp_path,  # it leaves a directory of its own
            seconds=3600 if long else 120,
        )
        print(result.out[-6000:], result.err[-2000:])
        assert result.code == 0
        assert await all_is_quiet(database, server)
