"""The operators' log: load is a few lines, a failure is one each."""

import logging

import pytest

from tenancy.errors import CommitUnknownError, PoolExhaustedError
from tenancy.problems import problem
from tenancy.web.refusals import Log


def test_refusals_for_load_are_a_few_lines_and_failures_one_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = Log()
    for kind in (PoolExhaustedError, CommitUnknownError):
        for _ in range(500):
            log.write(problem(kind("x")), kind("x"), "GET /notes")
    busy = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert 1 <= len(busy) < 50
    assert sum(r.levelno == logging.ERROR for r in caplog.records) == 500
    assert "GET /notes tenant=-: pool_exhausted: x" in busy[0].getMessage()
