"""Lab instances for tests: destroyed whatever happened, by the next test run where this one was killed."""

import fcntl
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from lab.instance import Lab
from lab.locks import locked


@contextmanager
def temporary_lab(purpose: str) -> Iterator[Lab]:
    """Give an instance that nobody else has; the test is skipped with the reason where no host can be booted."""
    lab = Lab(f"{purpose}-{uuid.uuid4().hex[:6]}")
    if reason := lab.can_run():
        pytest.skip(reason)
    held = lab.root / "temporary" / lab.name
    with ExitStack() as stack:
        with locked(lab.root / "temporary.lock"):
            _remove_abandoned(held.parent)
            handle = stack.enter_context(held.open("w"))
            fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield lab
        finally:
            lab.destroy()
            held.unlink()


def _remove_abandoned(folder: Path) -> None:
    """Destroy the instances of processes that ended without doing so: nobody holds their file any more."""
    folder.mkdir(parents=True, exist_ok=True)
    for held in folder.iterdir():
        with suppress(BlockingIOError), held.open() as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            Lab(held.name).destroy()
            held.unlink()


@pytest.fixture(scope="session")
def new_lab() -> Iterator[Callable[[], Lab]]:
    """Give a maker of instances that stand side by side; all are destroyed at the session's end."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(temporary_lab("test"))


@pytest.fixture(scope="session")
def lab(new_lab: Callable[[], Lab]) -> Lab:
    """Give the session's own instance, without hosts."""
    return new_lab()
