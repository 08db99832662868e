"""The tables of SECURITY.md that are the tests' own data: ``python tests/support/papers.py``."""

import re
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from support import attacks, forgone

PAPER = Path(__file__).parents[2] / "SECURITY.md"
TABLES = {"attacks": attacks.table, "forgone": forgone.table}


def printed(paper: str) -> str:
    """Return *paper* with each table between its markers."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        if paper.count(begin) != 1 or paper.count(end) != 1:
            raise ValueError(f"the markers of {name} are missing")
        between = re.compile(f"(?<={re.escape(begin)}).*?(?={re.escape(end)})", re.DOTALL)
        paper = between.sub(table().replace("\\", "\\\\"), paper)
    return paper


if __name__ == "__main__":
    PAPER.write_text(printed(PAPER.read_text()))
