"""From a view to the next request for it, with ids of seeded rows and canaries of its tenant."""

import json
import random
import re
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from tenancy.leakcheck import bodies
from tenancy.leakcheck.calls import Call, Ordeal
from tenancy.leakcheck.canaries import Canaries, Canary
from tenancy.leakcheck.filling import Filler
from tenancy.leakcheck.options import Options
from tenancy.leakcheck.seeds import Seed
from tenancy.leakcheck.views import View

_PARAMETER = re.compile(r"{(\w+)}")


class Planner:
    """Makes requests, and numbers them."""

    def __init__(
        self, options: Options, canaries: Canaries, filler: Filler, chance: random.Random
    ) -> None:
        self._options = options
        self._canaries = canaries
        self._filler = filler
        self._chance = chance
        self._turns: dict[str, int] = {}
        self.count = 0

    def call(self, view: View, tenant: int, ordeal: Ordeal | None = None) -> Call:
        """Return the next request for *view* as *tenant*: other ids, other canaries."""
        self.count += 1
        name = self._options.tenants[tenant]
        turn = self._turns[str(view)] = self._turns.get(str(view), -1) + 1
        words: set[str] = set()

        def text(field: str) -> str:
            place = f"{field or 'the body'} of request {self.count}"
            word = self._canaries.text(Canary(tenant, place, self.count))
            words.add(word)
            return word

        body, kind = self._body(view, name, turn // 2, text)
        headers = [(b"host", self._options.host.format(tenant=name).encode())]
        headers += [
            (key.lower().encode(), value.replace("{tenant}", name).encode())
            for key, value in self._options.headers
        ]
        if body:
            headers += [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        target = self._options.prefix.format(tenant=name) + self._target(
            view, name, turn // 2, text
        )
        return Call(
            self.count, tenant, name, str(view), view.method, target, headers, body,
            ordeal or Ordeal(), words,
        )  # fmt: skip

    def _target(self, view: View, tenant: str, turn: int, text: bodies.Text) -> str:
        def value(match: re.Match[str]) -> str:
            name = match[1]
            if name == "tenant":
                return tenant
            if name == "canary":
                return text("the path")
            found = self._ids(view, name)
            # What deletes takes the last row, so that the others stay to be read.
            place = len(found) - 1 - turn if view.method == "DELETE" else turn
            return quote(found[place % len(found)], safe="")

        path = _PARAMETER.sub(value, view.path)
        if not view.query:
            return path
        query = {name: bodies.example(schema, text, name) for name, schema in view.query}
        return f"{path}?{urlencode(query)}"

    def _ids(self, view: View, parameter: str) -> Sequence[str]:
        """Return values of seeded rows for a path's *parameter*, the likeliest ones.

        Where ids differ between the tenants, both tenants' are taken: one asks for the other's.
        """
        seeds = self._filler.seeds
        named = [s for s in seeds if s.column == parameter]
        table = _stem(parameter.removesuffix("_id").removesuffix("id"))
        before = view.path.split(f"{{{parameter}}}")[0].rstrip("/").rsplit("/", 1)[-1]
        for stem in (table, _stem(before)):
            keys = [s for s in seeds if s.is_key and stem and stem == _stem(s.table)]
            named = named or keys
        chosen = named or [s for s in seeds if s.is_key]
        return _interleaved(chosen) or ["1"]

    def _body(self, view: View, tenant: str, turn: int, text: bodies.Text) -> tuple[bytes, bytes]:
        if view.is_safe or (view.method == "DELETE" and view.body is None and view.text is None):
            return b"", b""
        if view.text is not None:
            filled = view.text.replace("{tenant}", tenant)
            while "{canary}" in filled:
                filled = filled.replace("{canary}", text("the body"), 1)
            return filled.encode(), b"application/json"
        if view.body is not None:
            return json.dumps(bodies.example(view.body, text)).encode(), b"application/json"
        columns = self._filler.text_columns(_stem(part) for part in view.path.split("/"))
        return bodies.guessed(columns, text, as_form=turn % 2 == 1)


def _stem(word: str) -> str:
    return word.lower().strip("_").removesuffix("s").removesuffix("ie").removesuffix("y")


def _interleaved(seeds: Sequence[Seed]) -> list[str]:
    """Return the values without repetition, the tenants' in turns."""
    sides = [[s.value for s in seeds if s.tenant == tenant] for tenant in (0, 1)]
    longest = max(map(len, sides), default=0)
    mixed = [side[n] for n in range(longest) for side in sides if n < len(side)]
    return list(dict.fromkeys(mixed))
