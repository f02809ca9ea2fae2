"""Lab instances for tests: made for the session, named after the process, destroyed whatever happened."""

import os
import uuid
from collections.abc import Callable, Iterator

import pytest

from lab.instance import Lab


@pytest.fixture(scope="session")
def new_lab() -> Iterator[Callable[[], Lab]]:
    """Give a maker of instances that stand side by side; all are destroyed at the session's end."""
    made: list[Lab] = []

    def make() -> Lab:
        lab = Lab(f"test-{os.getpid()}-{uuid.uuid4().hex[:6]}")
        reason = lab.can_run()
        if reason:
            pytest.skip(reason)
        made.append(lab)
        return lab

    try:
        yield make
    finally:
        for lab in made:
            lab.destroy()


@pytest.fixture(scope="session")
def lab(new_lab: Callable[[], Lab]) -> Lab:
    """Give the session's own instance, without hosts."""
    return new_lab()
