"""docs/security.md makes no promise without a test: what it names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = {
    path: path.read_text() for folder in ("libs", "services", "tests") for path in ROOT.glob(f"{folder}/**/test_*.py")
}
NAMED = re.compile(r"`(?:([\w/]*test_\w+\.py))?(?:::(\w+))?`")


def rows() -> list[tuple[int, str]]:
    """The number of each line that makes a promise, and what shows it."""
    lines = enumerate((ROOT / "docs" / "security.md").read_text().splitlines(), 1)
    made = [(number, line) for number, line in lines if line.startswith("| ") and not line.startswith("| promise")]
    return [(number, line.rstrip(" |").rpartition(" | ")[2]) for number, line in made]


@pytest.mark.parametrize(("line", "shown_by"), rows())
def test_each_promise_names_tests_that_are_there(line: int, shown_by: str) -> None:
    found = [one for one in NAMED.findall(shown_by) if any(one)]
    assert found or "`make " in shown_by
    file = ""
    for named, test in found:
        file = named or file
        texts = [text for path, text in TESTS.items() if str(path).endswith(f"/{file}")]
        assert texts, file
        assert any(re.search(rf"def {test}\(", text) for text in texts) or not test, (file, test)
