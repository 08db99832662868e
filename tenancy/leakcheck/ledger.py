"""The books of a run: which requests were sent, what they showed, what crossed."""

from tenancy.leakcheck.calls import Answer, Call
from tenancy.leakcheck.canaries import Canaries
from tenancy.leakcheck.report import Coverage, Finding, Kind, Report
from tenancy.leakcheck.scan import Found
from tenancy.leakcheck.watching import Watch, Watched

PREVIOUS = 3


class Ledger:
    """Judges answers and rows, and keeps the report."""

    def __init__(
        self, report: Report, canaries: Canaries, watch: Watch, tenants: tuple[str, str]
    ) -> None:
        self.report = report
        self._canaries = canaries
        self._watch = watch
        self._tenants = tenants
        self._calls: dict[int, tuple[Call, Answer]] = {}
        self._known: dict[tuple[Kind, str, str], Finding] = {}
        self._validators: dict[tuple[str, str], dict[int, tuple[bytes, bytes]]] = {}
        self._rows: Found = {}

    def call(self, number: int) -> Call:
        """Return the request *number*."""
        return self._calls[number][0]

    def before(self, watched: Watched, call: Call) -> tuple[str, ...]:
        """Return the last requests before *call* that used a connection."""
        numbers = [n for n in watched.calls if n < call.number and n in self._calls]
        return tuple(str(self.call(n)) for n in numbers[-PREVIOUS:])

    # Answers

    def answered(self, call: Call, answer: Answer) -> None:
        """Judge *answer* by the canaries it holds."""
        self._calls[call.number] = call, answer
        self.report.requests += 1
        coverage = self.report.views.setdefault(call.view, Coverage())
        coverage.statuses[call.tenant][answer.error or str(answer.status)] += 1
        if answer.is_good:
            coverage.good.add(call.tenant)
        places = [("the body", bytes(answer.body))]
        places += [(f"the header {k.decode('latin-1')}", v) for k, v in answer.headers]
        for place, data in places:
            for canary in self._canaries.found(data):
                if canary.tenant != call.tenant:
                    whose = self._tenants[canary.tenant]
                    self._found(Kind.ANSWER, call, f"{canary.place} of {whose}, in {place}", place)
                elif canary.request != call.number:
                    coverage.showed_rows = True
                    self.report.witnessed += 1
        self._compare_validators(call, answer)

    def _compare_validators(self, call: Call, answer: Answer) -> None:
        tag = answer.header(b"etag")
        if tag is None or not answer.is_good:
            return
        seen = self._validators.setdefault((call.view, call.target), {})
        seen[call.tenant] = tag, bytes(answer.body)
        other = seen.get(1 - call.tenant)
        if other is not None and other[0] == tag and other[1] != bytes(answer.body):
            text = tag.decode("latin-1")
            self._found(Kind.VALIDATOR, call, f"ETag {text} for both tenants' answers", "")

    # Rows

    def begin_rows(self, found: Found) -> None:
        """Take *found* as what is there before the next request."""
        self._rows = found

    def rows(self, found: Found, call: Call | None) -> None:
        """Judge the rows of both tenants; *call* is the only request since the last time."""
        for tenant, words in found.items():
            for table, word in sorted(words - self._rows.get(tenant, set())):
                self._judge(tenant, table, word, call)
        if call is not None:
            other = 1 - call.tenant
            for table, word in sorted(self._rows.get(other, set()) - found.get(other, set())):
                canary = self._canaries.of(word)
                place = canary.place if canary is not None else table
                what = f"{place} of {self._tenants[other]} is no longer in {table}"
                self._found(Kind.LOST, call, what, table)
        self._rows = found

    def _judge(self, tenant: int, table: str, word: str, call: Call | None) -> None:
        canary = self._canaries.of(word)
        if canary is None:
            return
        sender, answer = self._calls.get(canary.request or 0, (call, None))
        if sender is None:
            return
        if canary.tenant != tenant:
            whose = self._tenants[canary.tenant], self._tenants[tenant]
            what = f"{canary.place} of {whose[0]} is in {table} of {whose[1]}"
            self._found(Kind.WRITE, sender, what, table)
        elif sender.failed_inside and answer is not None and answer.is_failure:
            what = (
                f"the statement failed inside a transaction, the answer was "
                f"{answer.status or answer.error}, and the row is in {table}"
            )
            self._found(Kind.KEPT, sender, what, table)
        elif canary.request is not None:
            self.report.witnessed += 1

    # Findings

    def state(
        self, call: Call, item: str, expected: str, found: str, before: tuple[str, ...]
    ) -> None:
        """Note that *call* left *item* on its connection."""
        what = f"{item}: expected {expected}, found {found}"
        self._found(Kind.STATE, call, what, item, before)

    def _found(
        self, kind: Kind, call: Call, what: str, place: str, before: tuple[str, ...] | None = None
    ) -> None:
        key = kind, call.view, place
        if key in self._known:
            self._known[key].times += 1
            return
        if before is None:
            used = self._watch.used_by(call)
            before = tuple(text for watched in used for text in self.before(watched, call))
        finding = Finding(kind, str(call), what, before[-PREVIOUS:])
        self._known[key] = finding
        self.report.findings.append(finding)
