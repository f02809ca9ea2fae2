"""What every rollback provider has to keep. Authors subclass ``RollbackProviderContract`` and run it too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from orchestrator.domain.inventory import Connection, Environment, Host
from orchestrator.domain.rollback import RollbackPoint
from orchestrator.ports import Occasion, RollbackProvider, Subject

EXPIRES = datetime(2026, 11, 25, tzinfo=UTC)


class World(ABC):
    """The outside as one provider sees it: machines whose content is a text, and that can be made to fail."""

    @abstractmethod
    def provider(self) -> RollbackProvider:
        """Return the provider under test, made anew, as after a restart."""

    @abstractmethod
    def subject(self, host: str) -> Subject:
        """Return the host as the flow hands it over when a point is to be taken."""

    @abstractmethod
    def write(self, host: str, text: str) -> None:
        """Change what is on the machine."""

    @abstractmethod
    def read(self, host: str) -> str:
        """Return what is on the machine."""

    @abstractmethod
    def fail(self, host: str) -> None:
        """Let everything that is done to this host fail from here on."""

    def released(self, host: str) -> bool:
        """Tell whether the provider has given up the point on the outside; True where that is not its work."""
        return True


def host_called(name: str) -> Host:
    return Host(name=name, connection=Connection(address=f"{name}.example.org"))


class RollbackProviderContract(ABC):
    """Subclass it, say what ``name`` the points carry, and return a fresh ``World`` for each test."""

    name: str

    @abstractmethod
    def world(self) -> World:
        """Return a world with nothing in it."""

    def setup_method(self) -> None:
        self._world = self.world()
        self._jobs = 0
        for host in ("one", "two", "three"):
            self._world.write(host, "before")

    def test_point_says_whose_it_is_and_when_it_ends(self) -> None:
        (point,) = self.take("one")
        assert (point.change, point.host, point.provider) == ("CHG-0001", "one", self.name)
        assert point.expires_at == EXPIRES
        assert point.is_held
        assert point.taken_at.tzinfo is not None

    def test_points_come_for_all_hosts_of_the_batch(self) -> None:
        assert [point.host for point in self.take("one", "two", "three")] == ["one", "two", "three"]

    def test_nothing_to_do_is_no_error(self) -> None:
        provider = self._world.provider()
        assert list(provider.take([], self.occasion())) == []
        assert list(provider.restore([], [], self.occasion())) == []
        assert provider.release([], [], self.occasion()) == {}

    def test_taking_twice_keeps_the_first_point(self) -> None:
        self.take("one")
        self._world.write("one", "half patched")
        (again,) = self.take("one")
        assert self.restore(again) == {"one": ""}
        assert self._world.read("one") == "before"

    def test_restore_puts_back_what_was(self) -> None:
        points = self.take("one", "two")
        for host in ("one", "two"):
            self._world.write(host, "after")
        assert self.restore(*points) == {"one": "", "two": ""}
        assert [self._world.read(host) for host in ("one", "two", "three")] == ["before"] * 3

    def test_restoring_twice_is_harmless(self) -> None:
        points = self.take("one")
        self._world.write("one", "after")
        self.restore(*points)
        assert self.restore(*points) == {"one": ""}
        assert self._world.read("one") == "before"

    def test_points_survive_a_restart_of_the_orchestrator(self) -> None:
        (point,) = self.take("one")
        self._world.write("one", "after")
        as_stored = replace(point, reference=dict(point.reference))
        assert self.restore(as_stored) == {"one": ""}
        assert self._world.read("one") == "before"

    def test_host_of_which_no_point_can_be_taken_is_named_and_the_others_get_theirs(self) -> None:
        self._world.fail("two")
        taken = self._world.provider().take(self.subjects("one", "two", "three"), self.occasion())
        assert {one.host: one.point is not None for one in taken} == {"one": True, "two": False, "three": True}
        assert {one.host: bool(one.problem) for one in taken} == {"one": False, "two": True, "three": False}

    def test_host_that_cannot_be_restored_is_named_and_the_others_go_back(self) -> None:
        points = self.take("one", "two", "three")
        for host in ("one", "two", "three"):
            self._world.write(host, "after")
        self._world.fail("two")
        problems = self.restore(*points)
        assert {host: bool(problem) for host, problem in problems.items()} == {
            "one": False,
            "two": True,
            "three": False,
        }
        assert [self._world.read(host) for host in ("one", "two", "three")] == ["before", "after", "before"]

    def test_release_gives_up_the_points_and_may_be_repeated(self) -> None:
        points = self.take("one", "two")
        assert self.release(*points) == {}
        assert self._world.released("one")
        assert self.release(*points) == {}

    def test_release_says_what_it_could_not_do(self) -> None:
        points = self.take("one", "two")
        self._world.fail("two")
        told = self.release(*points)
        assert self._world.released("one")
        assert self._world.released("two") or set(told) == {"two"}

    def take(self, *hosts: str) -> tuple[RollbackPoint, ...]:
        taken = self._world.provider().take(self.subjects(*hosts), self.occasion())
        assert [one.problem for one in taken] == [""] * len(hosts)
        return tuple(one.point for one in taken if one.point)

    def restore(self, *points: RollbackPoint) -> dict[str, str]:
        """Return the problem of each host, "" where it was restored."""
        provider = self._world.provider()
        answers = provider.restore(points, self.subjects(*(point.host for point in points)), self.occasion())
        assert all(answer.restored is not bool(answer.problem) for answer in answers)
        return {answer.host: answer.problem for answer in answers}

    def release(self, *points: RollbackPoint) -> Mapping[str, str]:
        subjects = self.subjects(*(point.host for point in points))
        return self._world.provider().release(points, subjects, self.occasion())

    def subjects(self, *hosts: str) -> list[Subject]:
        return [self._world.subject(host) for host in hosts]

    def occasion(self) -> Occasion:
        self._jobs += 1
        return Occasion(
            change="CHG-0001",
            environment=Environment.STAGING,
            content="0" * 64,
            job=f"CHG-0001.try.{self._jobs}",
            expires_at=EXPIRES,
        )
