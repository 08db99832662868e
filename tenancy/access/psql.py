"""psql inside a tenant's scope."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress

from tenancy.access.session import Inside
from tenancy.embedded.programs import program
from tenancy.migrate.shape.libpq import as_options, connection

OLDEST = 10  # any psql speaks to any server; an older one's \d may not
PATIENCE_SECONDS = 5.0


async def run(session: Inside, arguments: Sequence[str]) -> int:
    """Run psql with *arguments* in the scope of *session*; return how it ended.

    Ctrl-C is psql's own while it runs: it cancels a query, and ends nothing.

    Raises:
        DatabaseSetupError: there is no psql here.
    """
    address, secret = connection(session.dsn)
    given = f"{secret['PGOPTIONS']} " if "PGOPTIONS" in secret else ""
    prompt = session.prompt.replace("%", "%%")
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    process = await asyncio.create_subprocess_exec(
        *(str(program("psql", OLDEST)), f"--dbname={address}", "--no-password"),
        *(f"--set=PROMPT1={prompt}%R%x%# ", f"--set=PROMPT2={prompt}%R%x%# ", *arguments),
        env={
            **os.environ,
            **secret,
            "PGAPPNAME": session.name,
            "PGOPTIONS": given + as_options(session.options),
        },
    )
    try:
        return await process.wait()
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        if process.returncode is None:  # cancelled
            with suppress(ProcessLookupError):
                process.terminate()
            await asyncio.wait_for(process.wait(), PATIENCE_SECONDS)
