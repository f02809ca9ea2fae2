"""What is installed for the demo is enough for it, although the tests have more."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
OURS = {"orchestrator", "lab", "demo"}


def imported(*folders: str) -> Iterator[tuple[str, Path]]:
    """Give every package that the code imports, with the file that does."""
    for file in (file for folder in folders for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from ((alias.name.partition(".")[0], file) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module.partition(".")[0], file


def test_all_that_demo_and_lab_import_is_in_the_lock_of_the_demo() -> None:
    locked = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    brought_by = packages_distributions()
    missing = {
        f"{package}, for {file.relative_to(ROOT)}"
        for package, file in imported("demo", "lab")
        if package not in sys.stdlib_module_names | OURS and file.name != "pytest_plugin.py"
        if not locked & {name.lower().replace("_", "-") for name in brought_by.get(package, ())}
    }
    assert not missing
