"""Every rollback provider of the house keeps the contract; only the outside is played."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from orchestrator.adapters.rollback.command import CommandProvider, label
from orchestrator.adapters.rollback.command_config import CommandConfig
from orchestrator.adapters.rollback.packages import PackagesProvider
from orchestrator.domain.canonical import Plain
from orchestrator.domain.job import HostOutcome, HostResult, Job, JobResult, JobStatus
from orchestrator.ports import RollbackProvider, Subject
from tests.contract.rollback_provider import RollbackProviderContract, World, host_called


class Fleet:
    """Hosts as ``protect.yml`` and ``restore.yml`` treat them, and the runner that plays those; it remembers."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.points: dict[str, str] = {}
        self.dead: set[str] = set()
        self.jobs: dict[str, JobResult] = {}

    def protect(self, host: str) -> Mapping[str, Plain] | None:
        if host in self.dead:
            return None
        self.points.setdefault(host, self.texts[host])
        return {"kind": "point", "provider": "packages", "class": "package", "items": [], "missing": [], "size": 7}

    def run(self, job: Job, *, on_wait: Callable[[], None] | None = None) -> JobResult:
        if job.id not in self.jobs:
            assert job.playbook == "restore.yml"
            hosts = tuple(self._restore(one.host) for one in job.hosts)
            self.jobs[job.id] = JobResult(
                id=job.id, status=JobStatus.FINISHED, rc=0, started_at=None, finished_at=None, hosts=hosts
            )
        return self.jobs[job.id]

    def result(self, job_id: str) -> JobResult | None:
        return self.jobs.get(job_id)

    def stop(self, job_id: str) -> None:
        raise AssertionError("a restore is never stopped")

    def _restore(self, host: str) -> HostResult:
        if host in self.dead:
            return HostResult(host=host, outcome=HostOutcome.UNREACHABLE, message="no route to host")
        self.texts[host] = self.points[host]
        report: dict[str, Plain] = {"kind": "transaction", "actual": [], "missing": [], "unexpected": []}
        return HostResult(host=host, outcome=HostOutcome.OK, reports=(report,))


class PackagesWorld(World):
    def __init__(self) -> None:
        self.fleet = Fleet()

    def provider(self) -> RollbackProvider:
        return PackagesProvider(runner=self.fleet)

    def subject(self, host: str) -> Subject:
        return Subject(host=host_called(host), patch_job={"change": "CHG-0001"}, prepared=self.fleet.protect(host))

    def write(self, host: str, text: str) -> None:
        self.fleet.texts[host] = text

    def read(self, host: str) -> str:
        return self.fleet.texts[host]

    def fail(self, host: str) -> None:
        self.fleet.dead.add(host)


class CommandWorld(World):
    """Machines are files, snapshots are copies of them; the tool is a little shell script that fails where told to."""

    TOOL = """#!/bin/sh
    set -eu
    cd "$(dirname "$0")"
    [ ! -e "$2.dead" ] || { echo "datastore of $2 is away" >&2; exit 3; }
    case $1 in
      take) [ ! -e "$3" ] || { echo "$3 exists" >&2; exit 4; }; cp "$2" "$3";;
      restore) cp "$3" "$2";;
      release) rm "$3";;
      exists) [ -e "$3" ];;
    esac
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="snapshots-")
        self.folder = Path(self._folder.name)
        tool = self.folder / "tool"
        tool.write_text(self.TOOL)
        tool.chmod(0o755)
        lines = {verb: (str(tool), verb, "{host}", "{label}") for verb in ("take", "restore", "release", "exists")}
        self.config = CommandConfig(
            take=lines["take"], restore=lines["restore"], release=lines["release"], exists=lines["exists"], timeout=20
        )

    def provider(self) -> RollbackProvider:
        return CommandProvider(name="tool", config=self.config)

    def subject(self, host: str) -> Subject:
        return Subject(host=host_called(host), patch_job={})

    def write(self, host: str, text: str) -> None:
        (self.folder / host).write_text(text)

    def read(self, host: str) -> str:
        return (self.folder / host).read_text()

    def fail(self, host: str) -> None:
        (self.folder / f"{host}.dead").touch()

    def released(self, host: str) -> bool:
        return not (self.folder / label("CHG-0001", host)).exists()


class TestPackages(RollbackProviderContract):
    name = "packages"

    def world(self) -> World:
        return PackagesWorld()


class TestCommand(RollbackProviderContract):
    name = "tool"

    def world(self) -> World:
        return CommandWorld()


class TestCommandWithoutExists(RollbackProviderContract):
    """A tool that cannot be asked what there is: it refuses a second snapshot by itself."""

    name = "tool"

    def world(self) -> World:
        world = CommandWorld()
        world.config = replace(world.config, exists=())
        return world

    def test_taking_twice_keeps_the_first_point(self) -> None:
        points = self.take("one")
        self._world.write("one", "half patched")
        (again,) = self._world.provider().take(self.subjects("one"), self.occasion())
        assert "exists" in again.problem
        self.restore(*points)
        assert self._world.read("one") == "before"

    def test_release_gives_up_the_points_and_may_be_repeated(self) -> None:
        points = self.take("one")
        assert self.release(*points) == {}
        assert set(self.release(*points)) == {"one"}
