"""The pages of the documentation, and the code in them."""

import re
from pathlib import Path

import pytest
from joblib.externals.loky import get_reusable_executor

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = {path.name: path for path in (README, *sorted((ROOT / "docs").glob("*.md")))}
EXAMPLES = {path.name: path for path in sorted((ROOT / "examples").glob("*.py"))}

NUMBER = re.compile(r"-?\d+\.\d*(?:e-?\d+)?")


def blocks(text, language):
    """Return the code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run_page(path, capsys):
    """Run the Python code of a page in order, and compare what it prints with the comments there.

    Scores may differ by 0.03, because another processor computes other last bits.
    """
    # joblib keeps its processes, and those of an earlier test are in another working folder.
    get_reusable_executor().shutdown(wait=True)
    names = {}
    for code in blocks(path.read_text(), "python"):
        capsys.readouterr()
        exec(compile(code, path.name, "exec"), names)
        printed = capsys.readouterr().out.splitlines()
        stated = re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)
        for line, claim in zip(printed, stated, strict=True):
            assert NUMBER.sub("#", line) == NUMBER.sub("#", claim)
            values, claims = ([float(x) for x in NUMBER.findall(text)] for text in (line, claim))
            assert values == pytest.approx(claims, abs=0.03)
    return names
