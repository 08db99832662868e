"""A run seen from a terminal: done, failed, left, rate and time to go."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from tenancy.migrate.files.model import Stage
from tenancy.migrate.report.outcomes import Result


class Bars:
    """One bar for each stage, on stderr; nothing where that is no terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]} failed"),
            TextColumn("{task.fields[rate]}/s"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[Stage, TaskID] = {}
        self._failed = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, result: Result, left: int) -> None:
        """Move the bar of the result's stage on by one schema."""
        self._failed += result.faulty
        if result.stage not in self._tasks:
            self._tasks[result.stage] = self._progress.add_task(result.stage, failed=0, rate=0)
        task = self._progress.tasks[self._tasks[result.stage]]
        done = task.completed + 1
        self._progress.update(
            task.id,
            completed=done,
            total=done + left,
            failed=self._failed,
            rate=round(task.speed or 0),
        )
