"""The leak check: does a customer see another customer's data in *your* application?

It runs an application, in this process and on a throw-away database, as two canary tenants with
equal ids, and treats it badly: one connection for both, interleaved and broken-off requests, failed
statements, a raw COMMIT, temporary tables. Whatever crosses is reported, with the request that did
it.

``python -m tenancy leakcheck module:app`` is its command; `tenancy.testing` has a pytest fixture.
"""

from tenancy.leakcheck.options import Layout, Options, Phase
from tenancy.leakcheck.report import Coverage, Finding, Kind, Report
from tenancy.leakcheck.run import check
from tenancy.leakcheck.sandbox import server

__all__ = [
    "Coverage",
    "Finding",
    "Kind",
    "Layout",
    "Options",
    "Phase",
    "Report",
    "check",
    "server",
]
