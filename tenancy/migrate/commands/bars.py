"""A run on a terminal: a bar, the rate, the time to go, and who takes long."""

import contextlib
from collections.abc import Iterator
from time import monotonic

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tenancy.migrate.report.progress import Progress


@contextlib.contextmanager
def bars(progress: Progress, console: Console | None = None) -> Iterator[None]:
    """Show *progress* while the block runs; nothing of it stays on the terminal."""
    with Live(
        get_renderable=lambda: drawn(progress, monotonic()),
        console=console or Console(stderr=True),
        transient=True,
        redirect_stdout=False,
    ):
        yield


def drawn(progress: Progress, now: float) -> RenderableType:
    """Return *progress* as it is to be shown."""
    row = Table.grid(padding=(0, 1))
    total = progress.done + progress.left
    seconds = progress.seconds_left(now)
    row.add_row(
        progress.wave or "looking",
        ProgressBar(total=total or None, completed=progress.done, width=40),
        f"{progress.done}/{total}",
        f"{progress.failed} failed",
        f"{progress.rate(now):.1f}/s",
        f"{seconds:.0f} s to go" if seconds is not None else "",
    )
    # Text, not markup: an application's name may hold anything.
    return Group(row, *(Text(f"  {words}") for words in progress.slow(now)))
