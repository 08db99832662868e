"""What clients notice of a rollout: latencies of the demo while the fleet is migrated, and quiet.

    python tests/benchmarks/rollout.py                               100 tenants, a minute
    python tests/benchmarks/rollout.py --tenants 500 --rounds 3      what sql/README.md quotes

Two workers of hypercorn get requests at a steady rate, well below what they could serve; the clock
of each starts when it is due. The files: columns, an index built CONCURRENTLY, a backfill, a
constraint, a column's type (tests/support/rollouts.py).
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from support import rollouts
from support.databases import drop_database, drop_logins, make_database, make_logins
from support.servers import server
from support.traffic import Answers, Traffic


async def main(options: argparse.Namespace) -> None:
    ratios = []
    for number in range(options.rounds):
        with server() as url, tempfile.TemporaryDirectory() as folder:
            logins = await make_logins(url)
            database = await make_database(url, logins)
            settings = await rollouts.settle(
                database, Path(folder), options.tenants, notes=options.notes
            )
            slugs = [f"tenant-{n}" for n in range(1, options.tenants + 1)]
            rollout, _ = await rollouts.rolled_out(
                settings,
                partial(Traffic, slugs=slugs, per_second=options.rate, seed=number),
                options.quiet,
                *("--parallel", str(options.parallel)),
                *("--parallel-concurrent", str(options.parallel_concurrent), *options.more),
            )
            await drop_database(url, database)
            await drop_logins(url, logins)
        print(f"{options.tenants} tenants, {options.rate:.0f} requests/s, --parallel", end=" ")
        print(f"{options.parallel}; load average {os.getloadavg()[0]:.1f}")
        print(f"  the migrator: exit {rollout.result.code}, {rollout.result.out.splitlines()[-1]}")
        for name, answers in (("quiet", rollout.quiet), ("rollout", rollout.during)):
            print(f"  {name:8} {line(answers)}")
        print(f"  p99 {rollout.ratio:.2f} times the quiet one", flush=True)
        ratios.append(rollout.ratio)
    print(f"median of {options.rounds}: p99 {statistics.median(ratios):.2f} times the quiet one")


def line(answers: Answers) -> str:
    percentiles = ", ".join(
        f"p{share * 100:g} {answers.percentile(share):.1f} ms" for share in (0.5, 0.9, 0.99, 0.999)
    )
    failed = "".join(f"\n    {words}" for words in answers.failed[:3])
    sums = dict(sorted(answers.statuses.items()))
    return f"{percentiles}; {sums}, {len(answers.failed)} failed{failed}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tenants", type=int, default=100)
    parser.add_argument("--notes", type=int, default=200, help="of each tenant")
    parser.add_argument("--rate", type=float, default=100, help="requests per second")
    parser.add_argument("--quiet", type=float, default=10, help="seconds")
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--parallel-concurrent", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("more", nargs="*", help="other options of `up`, after --")
    asyncio.run(main(parser.parse_args()))
