"""What it costs that one login is a member of very many tenants' roles; see README.md.

On the embedded server, or the one of TENANCY_TEST_DATABASE_URL. Medians in milliseconds.
"""

import argparse
import asyncio
import itertools
import secrets
import statistics
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

sys.path[:0] = [str(Path(__file__).parents[1])]

import asyncpg
from support.databases import PASSWORD, at
from support.servers import server

Result = TypeVar("Result")

ROLE_OPTIONS_SINCE = 16
BATCH = 500  # statements of one transaction: the lock table is finite
COLUMNS = "login, first SET ROLE, after another GRANT, later SET ROLE, CREATE ROLE and GRANT"


class Layout:
    """A number of tenants' roles, dealt out to a number of logins."""

    def __init__(self, url: str, root: asyncpg.Connection, tenants: int, logins: int) -> None:
        mark = secrets.token_hex(3)
        self.url, self.root = url, root
        self.logins = [f"bench_login_{mark}_{n}" for n in range(logins)]
        self.roles: list[str] = []
        self.tenants = tenants
        self._names = (f"bench_tenant_{mark}_{n}" for n in itertools.count())
        options = root.get_server_version().major >= ROLE_OPTIONS_SINCE
        self._how = " WITH INHERIT FALSE, SET TRUE" if options else ""

    async def make(self) -> None:
        for login in self.logins:
            await self.root.execute(f"CREATE ROLE {login} LOGIN NOINHERIT PASSWORD '{PASSWORD}'")
        while missing := min(BATCH, self.tenants - len(self.roles)):
            await self.root.execute("; ".join(self.another() for _ in range(missing)))

    def another(self) -> str:
        """SQL that makes one more tenant's role, for the login whose turn it is."""
        role = next(self._names)
        login = self.logins[len(self.roles) % len(self.logins)]
        self.roles.append(role)
        return f"CREATE ROLE {role} NOLOGIN NOINHERIT; GRANT {role} TO {login}{self._how}"

    async def drop(self) -> None:
        names = [*self.roles, *self.logins]
        for start in range(0, len(names), BATCH):
            await self.root.execute(f"DROP ROLE {', '.join(names[start : start + BATCH])}")

    async def connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(at(self.url, user=self.logins[0]))

    def become(self, turn: int) -> str:
        """The gate's way in and out, as one of the roles of the first login."""
        own = self.roles[:: len(self.logins)]
        role = own[turn % len(own)]
        return f"BEGIN; SET LOCAL ROLE {role}; COMMIT"


async def timed(action: Awaitable[Result]) -> tuple[float, Result]:
    """Milliseconds, and what came of it."""
    started = time.perf_counter()
    result = await action
    return (time.perf_counter() - started) * 1000, result


async def measure(layout: Layout, rounds: int) -> list[float]:
    seen: list[list[float]] = [[], [], [], [], []]
    for turn in range(rounds):
        login, conn = await timed(layout.connect())
        first, _ = await timed(conn.execute(layout.become(turn)))
        more, _ = await timed(layout.root.execute(layout.another()))
        again, _ = await timed(conn.execute(layout.become(turn)))
        later = [(await timed(conn.execute(layout.become(turn + n))))[0] for n in range(20)]
        await conn.close()
        for column, figures in zip(seen, ([login], [first], [again], later, [more]), strict=True):
            column.extend(figures)
    return [statistics.median(column) for column in seen]


async def main(sizes: list[int], logins: list[int], rounds: int) -> None:
    with server() as url:
        root = await asyncpg.connect(url)
        print(root.get_server_version()[:2], "|", COLUMNS)
        for tenants, number in itertools.product(sizes, logins):
            layout = Layout(url, root, tenants, number)
            await layout.make()
            figures = await measure(layout, rounds)
            print(f"{tenants:>6} roles, {number:>2} logins |", *(f"{f:9.2f}" for f in figures))
            await layout.drop()
        await root.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, nargs="+", default=[1, 100, 1000, 10_000])
    parser.add_argument("--logins", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.tenants, arguments.logins, arguments.rounds))
