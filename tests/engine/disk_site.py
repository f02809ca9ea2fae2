"""A fake site that many processes share: database, hosts and job folders on disk, and one clock that runs fast."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from orchestrator.adapters.ansible.kit import FolderKit
from orchestrator.adapters.store import SqlWorkers, codec, open_database, open_for_engine
from orchestrator.adapters.store.database import Database
from orchestrator.domain.change import ChangeSpec
from orchestrator.domain.health import CheckKind
from orchestrator.domain.inventory import Host
from orchestrator.engine import durable
from orchestrator.engine.durable import LOST, Durable
from orchestrator.engine.locks import Alone
from orchestrator.engine.queueing import LazyQueue
from orchestrator.engine.worker import SINGLE, Manner, Worker, new_name
from orchestrator.flow import sharding
from orchestrator.flow.ledger import Ledger
from orchestrator.ports import Tracer
from tests.fakes.disk import DiskCheck, DiskHosts, DiskPackages, DiskProbe, DiskRunner
from tests.fakes.site import FakeSite
from tests.fakes.values import SLOT
from tests.fakes.world import load, save

#: So many seconds pass in a second: pauses and patience that are made for hosts need not be waited out.
SPEED = 20.0


@dataclass(frozen=True)
class FastClock:
    """Implements ``ports.Clock``: the same for every process, from the window's start on."""

    began: float

    def now(self) -> datetime:
        """Return the time."""
        return SLOT.start + timedelta(seconds=(time.time() - self.began) * SPEED)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds / SPEED)


@dataclass(frozen=True)
class DiskSite:
    """Where everything is, and how it is worked with: ``seconds`` is what a job takes on a host, ``shard`` its size.

    ``pause`` is between two looks of a worker, in seconds; ``traces`` is where it sends traces, "" for nowhere.
    """

    url: str
    folder: str
    hosts: int
    seconds: float
    shard: int
    began: float
    lease: float = 1.5
    at_once: int = 2
    has_kit: bool = False
    pause: float = 0.5
    traces: str = ""
    stage: int = 1
    zones: Sequence[str] = ()
    lost_after: float = LOST

    @property
    def machines(self) -> DiskHosts:
        """The hosts, as they are reached from the zones that this worker serves."""
        return DiskHosts(Path(self.folder) / "hosts", self.zones)

    def prepare(self, of: ChangeSpec) -> None:
        """Take a change to its window, with everything in memory, and put the hosts on disk."""
        with closing(open_database(self.url)) as database:
            site = FakeSite(database, Path(self.folder), web=self.hosts)
            site.scheduled(of)
            self._put_on_disk(site)
            if self.has_kit:
                self._begin_kit(site)

    def ask(self, of: ChangeSpec, zones: Mapping[str, str]) -> None:
        """Ask for a change, and put all hosts on disk, each in its zone: nothing has been done to any of them."""
        with closing(open_database(self.url)) as database:
            site = FakeSite(database, Path(self.folder), web=self.hosts, stage=self.stage)
            for name, zone in zones.items():
                site.inventory.change(name, partial(replace, zone=zone))
            site.submit(of)
            site.content.freeze(site.content.read())
            self._put_on_disk(site)
        for name, zone in zones.items():
            self.machines.stands_in(name, zone)

    def _put_on_disk(self, site: FakeSite) -> None:
        save(site, Path(self.folder) / "world")
        for machine in site.machines.values():
            self.machines.keep(machine)

    def _begin_kit(self, site: FakeSite) -> None:
        """Leave a kit that lacks nothing but the jobs: the rest is Ansible's own work, once for each change."""
        kit = Path(self.folder) / "kits" / site.id
        kit.mkdir(parents=True)
        (kit / ".kit.json").write_text(json.dumps({"plan": site.change.digest, "hosts": sorted(site.production)}))

    @contextmanager
    def opened(self) -> Iterator[FakeSite]:
        """Open the site in this process."""
        engine, usual = open_for_engine(self.url), sharding.SHARD
        with closing(open_database(self.url)) as database:
            try:
                yield self._site(database, engine)
            finally:
                sharding.SHARD = usual
                engine.dispose()

    def _site(self, database: Database, engine: sa.Engine) -> FakeSite:
        sharding.SHARD = self.shard
        folder = Path(self.folder)
        site = FakeSite(database, folder, web=self.hosts, stage=self.stage)
        load(site, folder / "world")
        clock, packages = FastClock(self.began), DiskPackages(folder / "packages")
        site.ledger = Ledger(site.store, clock, LazyQueue(self.url, lambda: engine))
        site.crew = replace(
            site.crew,
            ledger=site.ledger,
            runner=DiskRunner(self.machines, folder / "jobs", clock, self.seconds, packages.fetch),
            probe=DiskProbe(self.machines),
            checks=dict.fromkeys(CheckKind, DiskCheck(self.machines)),
            packages=packages,
            kit=FolderKit(state=folder, frozen=lambda digest: folder) if self.has_kit else _NoKit(folder),
            node="one",
            tracer=self._tracer(),
        )
        (site.id,) = [change.id for change in site.store.changes()]
        return site

    def _tracer(self) -> Tracer | None:
        if not self.traces:
            return None
        from orchestrator.adapters.telemetry.otlp import OtlpTracer  # As in the product: only where it is asked for.

        return OtlpTracer(self.traces, "site")

    def work(self) -> None:
        """Be a worker until somebody ends this process."""
        with self.opened() as site:
            self._work(site)

    def _work(self, site: FakeSite) -> None:
        durable.LOST = self.lost_after
        single = self.url.startswith("sqlite")
        name = new_name()
        here = Durable(
            crew=site.crew, engine=open_for_engine(self.url), executor=SINGLE if single else name, codec=codec,
            sharing=lambda change: nullcontext(), at_once=self.at_once,
        )  # fmt: skip
        manner = Manner(zones=tuple(self.zones), lease=timedelta(seconds=self.lease), pause=self.pause)
        workers = SqlWorkers(open_for_engine(self.url, size=2))
        Worker(here, workers, name, manner, site.clock, alone=Alone() if single else None).run()


@dataclass(frozen=True)
class _NoKit:
    """Implements ``ports.RollbackKit`` for hosts that nobody will put back by hand."""

    folder: Path

    def write(self, plan: object, hosts: Mapping[str, Host], patch_jobs: object) -> Path:
        """Write nothing."""
        return self.folder


def fork(site: DiskSite) -> int:
    """Start a worker process that shares nothing with this one, and return its id. Nothing may run beside us here."""
    child = os.fork()
    if child:
        return child
    try:
        log = (Path(site.folder) / "workers.log").open("a")
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        site.work()
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        raise
    finally:
        os._exit(1)
