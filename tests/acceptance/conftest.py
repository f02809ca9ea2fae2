"""A lab for each module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.pytest_plugin import temporary_lab
from tests.acceptance.machines import Park


@pytest.fixture(scope="module")
def park() -> Iterator[Park]:
    """Give a lab instance of the module's own, without hosts."""
    with temporary_lab("accept") as lab:
        yield Park(lab)
