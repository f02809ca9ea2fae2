"""Windows hosts for tests: they end with the test session, and with its process if that is killed."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lab.windows.instance import WindowsLab


@contextmanager
def temporary_windows_lab(root: Path, purpose: str = "test") -> Iterator[WindowsLab]:
    """Give an instance without hosts, in a folder of the test's own. Bring hosts up with `owner=os.getpid()`."""
    lab = WindowsLab(f"{purpose}-{uuid.uuid4().hex[:6]}", root)
    try:
        yield lab
    finally:
        lab.down()


@pytest.fixture(scope="session")
def new_windows_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., WindowsLab]]:
    """Give a maker of instances: of the hosts named, by a scenario."""
    with ExitStack() as stack:

        def make(*names: str, scenario: str | Path = "monthly") -> WindowsLab:
            root = tmp_path_factory.mktemp("windows")
            lab = stack.enter_context(temporary_windows_lab(root))
            lab.up(*names, scenario=scenario, owner=os.getpid())
            return lab

        yield make
