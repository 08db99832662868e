"""What came of a run, in exit codes, words and JSON; and of a survey."""

import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from tenancy.errors import MigrationError
from tenancy.exits import Exit
from tenancy.migrate.files import folder
from tenancy.migrate.files.model import Stage
from tenancy.migrate.ledger.records import Failure, History, Standing
from tenancy.migrate.plan import chain
from tenancy.migrate.plan.chain import Position, Verdict
from tenancy.migrate.plan.steps import Step, Survey
from tenancy.migrate.report import objects, output
from tenancy.migrate.report.outcomes import Ending, Outcome, Report, Result, survey_exit

RUN = UUID(int=7)
NOON = datetime(2025, 1, 2, 12, 0, tzinfo=UTC)
FAILURE = Failure("2", "tenant/2_b.sql:3:1", 'relation "b" already exists', "42P07", NOON)


def _result(tenant: str, outcome: Outcome, **more: object) -> Result:
    return Result(Stage.TENANT, f"t_{tenant}", tenant, outcome, **more)  # type: ignore[arg-type]


def _report(*results: Result, **more: object) -> Report:
    return Report(RUN, results, 1.5, **more)  # type: ignore[arg-type]


def _failed(tenant: str) -> Result:
    return _result(tenant, Outcome.FAILED, failure=FAILURE)


APPLIED = _result("a", Outcome.APPLIED, applied=("1", "2"), seconds=0.25)
REFUSED = _result("c", Outcome.REFUSED, reason="tenant/1_a.sql: changed")


@pytest.mark.parametrize(
    ("results", "ending", "code"),
    [
        ([], Ending.CURRENT, 0),
        ([APPLIED], Ending.CURRENT, 0),
        ([APPLIED, _result("b", Outcome.AHEAD)], Ending.CURRENT, 0),
        ([APPLIED, _result("b", Outcome.GONE)], Ending.CURRENT, 0),
        ([_result("b", Outcome.CURRENT)], Ending.CURRENT, 0),
        ([APPLIED, _failed("b")], Ending.FAILED, 3),
        ([REFUSED, _failed("b"), APPLIED], Ending.REFUSED, 6),
        ([APPLIED, _result("b", Outcome.NEEDS_DECISION)], Ending.FAILED, 3),
    ],
)
def test_what_asks_for_a_person_decides_the_exit_code(
    results: list[Result], ending: Ending, code: int
) -> None:
    report = _report(*results)
    assert (report.ending, report.exit_code()) == (ending, code)


def test_an_interrupted_run_ends_with_the_signal() -> None:
    report = _report(_failed("b"), interrupted=True)
    assert [report.exit_code(), report.exit_code(15), report.exit_code(2)] == [143, 143, 130]


def test_a_run_that_leaves_schemas_behind_has_failed() -> None:
    assert _report(APPLIED, left=1).ending is Ending.FAILED


def test_a_stopped_run_ends_with_7_and_says_why() -> None:
    report = _report(_failed("b"), stopped="the canary failed", left=9)
    assert (report.ending, report.exit_code()) == (Ending.STOPPED, 7)
    assert list(output.report_lines(report))[-1] == (
        "stopped, the canary failed: 1 failed, 9 left (1.5 s)"
    )


def test_another_shape_is_a_failure_only_where_shapes_are_strict() -> None:
    odd = _result("a", Outcome.APPLIED, shape="shape differs from 2 others")
    assert _report(odd).exit_code() == 0
    assert _report(odd, strict_shape=True).exit_code() == 3
    with pytest.raises(MigrationError, match=r"a \(t_a\): shape differs from 2 others"):
        _report(odd, strict_shape=True).raise_for_failures()


def test_failures_can_be_raised() -> None:
    _report(APPLIED, _result("b", Outcome.AHEAD, reason="newer")).raise_for_failures()
    with pytest.raises(MigrationError) as raised:
        _report(APPLIED, _failed("b"), _failed("d")).raise_for_failures()
    assert str(raised.value) == (
        "some failed: 1 applied, 2 failed; b (t_b): tenant/2_b.sql:3:1: [42P07] "
        'relation "b" already exists'
    )


def test_those_who_fail_alike_are_told_in_one_line() -> None:
    report = _report(*(_failed(f"b{n}") for n in range(7)), REFUSED, APPLIED, left=2)
    who = "b0 (t_b0), b1 (t_b1), b2 (t_b2), b3 (t_b3), b4 (t_b4) and 2 more"
    assert list(output.report_lines(report)) == [
        f'{who}: failed: tenant/2_b.sql:3:1: [42P07] relation "b" already exists',
        "c (t_c): refused: tenant/1_a.sql: changed",
        "some refused: 1 applied, 7 failed, 1 refused, 2 left (1.5 s)",
    ]


def test_a_run_with_nothing_to_do_is_one_line() -> None:
    assert list(output.report_lines(_report())) == ["all at the target (1.5 s)"]


def test_a_result_as_json() -> None:
    assert json.loads(json.dumps(objects.result_object(APPLIED))) == {
        "event": "schema",
        "stage": "tenant",
        "schema": "t_a",
        "tenant": "a",
        "outcome": "applied",
        "applied": ["1", "2"],
        "seconds": 0.25,
        "reason": None,
        "failure": None,
        "shape": None,
    }
    assert json.loads(json.dumps(objects.result_object(_failed("b"))))["failure"] == {
        "version": "2",
        "place": "tenant/2_b.sql:3:1",
        "sqlstate": "42P07",
        "message": 'relation "b" already exists',
        "at": "2025-01-02T12:00:00+00:00",
    }


def test_a_report_as_json() -> None:
    report = _report(APPLIED, _failed("b"), REFUSED, left=4)
    assert json.loads(json.dumps(objects.report_object(report))) == {
        "event": "run",
        "run": str(RUN),
        "outcome": "refused",
        "stopped": None,
        "applied": 1,
        "ahead": 0,
        "gone": 0,
        "failed": 1,
        "needs-decision": 0,
        "refused": 1,
        "shapes": 0,
        "left": 4,
        "seconds": 1.5,
    }


@pytest.fixture
def step(tmp_path: Path) -> Step:
    (tmp_path / "1_a.sql").write_text("SELECT 1")
    (tmp_path / "2_b.sql").write_text("SELECT 2")
    pending = folder.load(tmp_path, Stage.TENANT)[1:]
    standing = Standing(Stage.TENANT, "t_a", 7, "a", "1", pending[0].previous, NOON)
    return Step(standing, Position(Verdict.BEHIND, pending))


def _survey(*steps: Step, empty: bool = False) -> Survey:
    return Survey(empty=empty, steps=steps, versions=((Stage.TENANT, "1", 2),))


def _judged(step: Step, verdict: Verdict) -> Step:
    return Step(step.standing, Position(verdict, reason="why"))


def test_pending_work_is_an_error_only_when_asked(step: Step) -> None:
    assert survey_exit(_survey(step), check=False) is Exit.CURRENT
    assert survey_exit(_survey(step), check=True) is Exit.PENDING
    assert survey_exit(_survey(), check=True) is Exit.CURRENT
    assert survey_exit(_survey(_judged(step, Verdict.AHEAD)), check=True) is Exit.CURRENT


@pytest.mark.parametrize("verdict", [Verdict.CHANGED, Verdict.OUT_OF_ORDER, Verdict.DAMAGED])
def test_what_up_would_refuse_is_always_an_error(step: Step, verdict: Verdict) -> None:
    assert survey_exit(_survey(_judged(step, verdict)), check=False) is Exit.REFUSED


def test_a_plan_in_words(step: Step) -> None:
    assert list(output.plan_lines(_survey(step))) == ["a (t_a): to apply tenant/2_b.sql"]
    assert list(output.plan_lines(_survey())) == ["nothing pending"]
    assert list(output.plan_lines(_survey(_judged(step, Verdict.AHEAD)))) == [
        "a (t_a): why",
        "nothing pending",
    ]
    assert list(output.plan_lines(_survey(empty=True))) == ["nothing applied yet"]


def test_long_lists_are_short_for_people_and_whole_for_programs(step: Step, tmp_path: Path) -> None:
    for number in range(3, 10):
        (tmp_path / f"{number}_a.sql").write_text("SELECT 1")
    files = folder.load(tmp_path, Stage.TENANT)
    behind = Step(step.standing, Position(Verdict.BEHIND, files[1:]))
    (line,) = output.plan_lines(_survey(behind))
    assert line == "a (t_a): to apply 8 files, tenant/2_b.sql to tenant/9_a.sql"
    assert objects.step_object(behind)["pending"] == [str(number) for number in range(2, 10)]
    history = History({one.version: "other" for one in files})
    changed = Step(step.standing, chain.difference(files, "x", history))
    (line,) = output.plan_lines(_survey(changed))
    assert "tenant/5_a.sql and 4 more: changed" in line
    assert objects.step_object(changed)["changed"] == tuple(one.label for one in files)


def test_a_status_in_words(step: Step) -> None:
    since = "at 1 since 2025-01-02 12:00:00 UTC"
    count = "tenant 1: 2 schemas"
    assert list(output.status_lines(_survey(step))) == [f"a (t_a): {since}, 1 pending", count]
    assert list(output.status_lines(_survey())) == [count, "all at the target"]

    failing = Standing(Stage.TENANT, "t_b", 8, "b", "1", "x", NOON, FAILURE)
    assert next(output.status_lines(_survey(Step(failing, step.position)))) == (
        f"b (t_b): {since}, failed 2025-01-02 12:00:00 UTC: "
        'tenant/2_b.sql:3:1: [42P07] relation "b" already exists'
    )
    lost = Standing(Stage.TENANT, "t_c", None, "c")
    assert next(output.status_lines(_survey(Step(lost, step.position)))) == (
        "c (t_c): the schema does not exist"
    )


def test_a_survey_as_json(step: Step) -> None:
    found = json.loads(json.dumps(objects.step_object(step)))
    assert (found["tenant"], found["version"], found["pending"]) == ("a", "1", ["2"])
    assert found["changed"] == []
    assert (found["verdict"], found["since"]) == ("behind", "2025-01-02T12:00:00+00:00")
    assert json.loads(json.dumps(objects.survey_object(_survey(step)))) == {
        "event": "summary",
        "empty": False,
        "behind": 1,
        "ahead": 0,
        "refused": 0,
        "versions": [{"stage": "tenant", "version": "1", "schemas": 2}],
    }
