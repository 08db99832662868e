"""A run while it is under way: its events as objects, its progress in a line and on a terminal."""

import io
import json
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tenancy.migrate.commands.bars import bars, drawn
from tenancy.migrate.files.model import Stage
from tenancy.migrate.report.events import (
    Backfilling,
    Begun,
    Finished,
    RunEvent,
    Started,
    Waiting,
    WaveBegun,
    WaveEnded,
)
from tenancy.migrate.report.objects import event_object
from tenancy.migrate.report.outcomes import Outcome, Result
from tenancy.migrate.report.progress import Progress


def _begun(tenant: str) -> Begun:
    return Begun(Stage.TENANT, f"t_{tenant}", tenant)


def _finished(tenant: str, left: int, outcome: Outcome = Outcome.APPLIED) -> Finished:
    return Finished(Result(Stage.TENANT, f"t_{tenant}", tenant, outcome), left)


WAITING = Waiting("t_acme", 12.3456, "psql (server process 71)")
BACKFILLING = Backfilling("t_globex", "emails", 1200, 9000)


def _progress(*events: tuple[float, RunEvent]) -> Progress:
    progress = Progress(0.0)
    for now, event in events:
        progress.observe(event, now)
    return progress


def test_a_line_says_how_far_it_is_and_who_takes_long() -> None:
    progress = _progress(
        (0, WaveBegun(1, 40, ("0007",))),
        (1, _begun("acme")),
        (2, _begun("globex")),
        (9, _begun("young")),
        (3, _finished("a", 38)),
        (4, _finished("b", 37, Outcome.FAILED)),
        (9, WAITING),
        (9, BACKFILLING),
    )
    assert progress.line(10.0) == (
        "wave 1, 40 schemas: 2 done, 1 failed, 37 left, 0.2/s, 185 s to go"
        "; acme for 9 s: waits for psql (server process 71) since 12 s"
        "; globex for 8 s: backfill emails, 1200 of 9000 rows"
    )


def test_a_run_that_has_just_begun_knows_no_rate() -> None:
    assert _progress().line(0.0) == "0 done, 0 failed, 0 left"
    assert _progress((0, WaveBegun(0, 1, ()))).line(0.0).startswith("canary, 1 schema: ")
    assert _progress((0, WaveEnded(0, 0, 1.0, 60.0))).line(0.0).startswith("soaking for 60 s")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30))
def test_whoever_has_finished_is_not_under_way(steps: list[tuple[str, bool]]) -> None:
    progress = Progress(0.0)
    under_way: set[str] = set()
    for tenant, begins in steps:
        progress.observe(_begun(tenant) if begins else _finished(tenant, 0), 0.0)
        under_way = under_way | {f"t_{tenant}"} if begins else under_way - {f"t_{tenant}"}
    assert set(progress.flights) == under_way
    assert len(progress.slow(100.0)) == min(3, len(under_way))


def test_a_terminal_shows_the_same_and_takes_no_name_for_markup() -> None:
    blocker = Waiting("t_acme", 3, "[bold]psql[/]")
    progress = _progress((0, WaveBegun(1, 4, ())), (0, _begun("acme")), (1, _finished("b", 3)))
    progress.observe(blocker, 6.0)
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, color_system=None)
    console.print(drawn(progress, 10.0))
    assert "1/4" in out.getvalue()
    assert "acme for 10 s: waits for [bold]psql[/] since 3 s" in out.getvalue()
    with bars(progress, console):
        pass


def test_events_are_objects_and_what_is_for_a_display_alone_is_none() -> None:
    run = UUID(int=7)
    told = [
        event_object(event)
        for event in (
            Started(run, "up", 3, 2),
            WaveBegun(0, 1, ("0007",)),
            WAITING,
            BACKFILLING,
            WaveEnded(0, 0, 1.5, 60.0),
        )
    ]
    assert json.loads(json.dumps(told)) == [
        {"event": "started", "run": str(run), "command": "up", "schemas": 3, "waves": 2},
        {"event": "wave", "wave": 0, "canary": True, "schemas": 1, "phases": ["0007"]},
        {
            "event": "waiting",
            "schema": "t_acme",
            "seconds": 12.346,
            "blocker": "psql (server process 71)",
        },
        {
            "event": "backfill",
            "schema": "t_globex",
            "name": "emails",
            "done": 1200,
            "total": 9000,
        },
        {"event": "wave_ended", "wave": 0, "failed": 0, "seconds": 1.5, "soak_seconds": 60.0},
    ]
    assert event_object(_begun("acme")) is None
    finished = event_object(_finished("acme", 4))
    assert finished is not None
    assert (finished["event"], finished["left"]) == ("schema", 4)
