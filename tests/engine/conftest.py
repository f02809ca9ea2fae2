"""What tests of the engine share: a database server, and processes that are forked where all is imported already."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.pool import Pool, pool
from tests.postgres import Server, running


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def workers() -> Iterator[Pool]:
    with pool() as workers:
        yield workers
