"""A lab and a founding of sites for each module; destroyed whatever happened."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from lab.instance import Lab
from tests.acceptance.machines import Park


@pytest.fixture(scope="module")
def park() -> Iterator[Park]:
    """Give a lab instance of the module's own, without hosts."""
    lab = Lab(f"accept-{os.getpid()}-{uuid.uuid4().hex[:6]}")
    if reason := lab.can_run():
        pytest.skip(reason)
    try:
        yield Park(lab)
    finally:
        lab.destroy()
