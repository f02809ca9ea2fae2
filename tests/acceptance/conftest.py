"""A lab for each module; and one with web hosts, on which a change was proved and approved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.packages import Package
from lab.pytest_plugin import temporary_lab
from tests.acceptance.machines import Park
from tests.acceptance.site import Site

WEB = ("w1", "w2", "w3", "w4")


@dataclass(frozen=True)
class Web:
    """Four web hosts, and a site with one change: one canary, a soak, then the other three.

    ``staged`` is the site before anybody voted, ``approved`` afterwards.
    """

    park: Park
    staged: Site
    approved: Site
    change: str

    def scheduled(self, folder: Path) -> Site:
        """Return the site with the change in its window, and the hosts as they were then."""
        self.park.renew(*WEB)
        site = self.approved.copy(folder)
        site.give("change", "schedule", self.change, "--yes")
        return site


@pytest.fixture(scope="module")
def park() -> Iterator[Park]:
    """Give a lab instance of the module's own, without hosts."""
    with _park() as park:
        yield park


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Give the web hosts and the site, to be copied: proving a change is most of what a test costs."""
    with _park() as park:
        park.lab.repository.publish(Package(name="labapp", version="1.0"))
        park.up("s1", *WEB, packages=("labapp",))
        park.lab.repository.publish(Package(name="labapp", version="1.1", behaviour="new-dependency"))
        site = Site.found(tmp_path_factory.mktemp("web"))
        site.inventory("staging", park.lab, {"s1": {}})
        site.inventory("production", park.lab, {name: {} for name in WEB})
        change = site.submit({"canary": 1, "soak": "6s", "max_unfit": 1})
        site.stage(change)
        staged = site.copy(tmp_path_factory.mktemp("staged"))
        site.approve(change)
        park.keep(*WEB)
        yield Web(park, staged, site, change)


@contextmanager
def _park() -> Iterator[Park]:
    with temporary_lab("accept") as lab:
        yield Park(lab)
