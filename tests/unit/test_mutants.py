"""The mutants follow the code: each still applies, and its tests exist."""

import re
import shutil
from pathlib import Path

import pytest
from isolation.mutants import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_applies_and_names_its_tests(mutant: Mutant, tmp_path: Path) -> None:
    for name, *_ in mutant.edits:
        (tmp_path / "tenancy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tenancy" / name, tmp_path / "tenancy" / name)
    mutant.apply(tmp_path)
    for name, *_ in mutant.edits:
        compile((tmp_path / "tenancy" / name).read_text(), name, "exec")
    paths = [ROOT / test for test in mutant.tests if test.startswith("tests/")]
    assert paths
    assert all(path.is_file() for path in paths)
    if "-k" in mutant.tests:
        words = re.findall(r"\w+", mutant.tests[-1])
        text = " ".join(path.read_text() for path in paths).lower()
        for word in {*words} - {"and", "or", "not", "once", "warm"}:
            assert word.lower().replace("_", " ") in text.replace("_", " "), word


def test_names_differ() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 25
