"""Put the pieces of a site together: the only module that knows both the flow and the adapters."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from orchestrator import __version__
from orchestrator.adapters.ansible.content import SiteContent
from orchestrator.adapters.ansible.controller import Controller
from orchestrator.adapters.ansible.holdings import StateHoldings
from orchestrator.adapters.ansible.installations import installed, programs_of, try_out
from orchestrator.adapters.ansible.inventory import AnsibleInventory
from orchestrator.adapters.ansible.kit import FolderKit
from orchestrator.adapters.ansible.listings import Listings
from orchestrator.adapters.ansible.packages import PackageStore
from orchestrator.adapters.ansible.parts import PartedRunner
from orchestrator.adapters.ansible.progress import latest_progress
from orchestrator.adapters.ansible.redaction import Redactor
from orchestrator.adapters.ansible.runner import SupervisedRunner
from orchestrator.adapters.ansible.slots import Slots, free_memory
from orchestrator.adapters.ansible.versions import versions_in
from orchestrator.adapters.evidence.bundle import Notary
from orchestrator.adapters.evidence.keys import current, rotate
from orchestrator.adapters.evidence.outside import AppendedFile
from orchestrator.adapters.evidence.trust import read_pins
from orchestrator.adapters.evidence.verifier import verify_bundle, verify_trail
from orchestrator.adapters.health import service_checks
from orchestrator.adapters.identity.caller import calling_account
from orchestrator.adapters.identity.signers import SiteSigners
from orchestrator.adapters.rollback.command import CommandProvider
from orchestrator.adapters.rollback.command_config import CommandConfig
from orchestrator.adapters.rollback.packages import PackagesProvider
from orchestrator.adapters.store import SqlStore, SqlWorkers, codec, open_database, open_for_engine, upgrade
from orchestrator.domain.change import CARRIED
from orchestrator.domain.evidence import Verdict
from orchestrator.domain.inventory import Environment, Host, KeptSecret, Secret
from orchestrator.domain.job import Job
from orchestrator.domain.metrics import Measure
from orchestrator.domain.rollback import RollbackClass
from orchestrator.engine.carrier import Carriers
from orchestrator.engine.queueing import LazyQueue
from orchestrator.engine.worker import SINGLE, Manner, Worker, new_name, only_one
from orchestrator.errors import Unavailable
from orchestrator.flow.acting import Caller, Desk
from orchestrator.flow.backing_up import Traces
from orchestrator.flow.crew import Crew
from orchestrator.flow.knocking import KnockingRunner
from orchestrator.flow.ledger import Ledger
from orchestrator.flow.measuring import observe
from orchestrator.logs import FORM
from orchestrator.ports import Probe, RollbackProvider, Tracer, WorkerSeen
from orchestrator.settings import (
    DESCRIPTOR,
    Reference,
    ReferenceKind,
    Settings,
    answer,
    hand_over,
    load_settings,
    resolve,
    take_over,
)
from orchestrator.settings import CommandProvider as CommandSettings

if TYPE_CHECKING:
    from orchestrator.adapters.intake.yaml_intake import YamlIntake
    from orchestrator.adapters.metrics.prometheus import Exposition
    from orchestrator.adapters.probes.host_keys import OfferedKeys
    from orchestrator.adapters.probes.known_hosts import KnownHosts
    from orchestrator.adapters.probes.probes import MixedProbe
    from orchestrator.adapters.store.backup import DatabaseBackups

#: Seconds after which a worker that a command has started ends, when there is nothing more to do.
IDLE = 10


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the time now, in UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class Site:
    """One site, opened. Every part is made when it is first needed, so that looking needs no Ansible and no keys."""

    def __init__(self, folder: Path) -> None:
        self.settings: Settings = load_settings(folder)
        self.clock = SystemClock()

    @cached_property
    def ledger(self) -> Ledger:
        """The door to the database."""
        upgrade(self._url)
        return Ledger(SqlStore(open_database(self._url)), self.clock, LazyQueue(self._url, lambda: self._engine))

    @cached_property
    def signers(self) -> SiteSigners:
        """The people and their signatures."""
        return SiteSigners(self.settings.site / "people.yml")

    @cached_property
    def desk(self) -> Desk:
        """Where statements are signed."""
        return Desk(self.signers, self.clock)

    @cached_property
    def intake(self) -> YamlIntake:
        """The change templates."""
        from orchestrator.adapters.intake.yaml_intake import YamlIntake

        return YamlIntake(self.settings.site / "change_templates", self.clock)

    @cached_property
    def content(self) -> SiteContent:
        """What Ansible runs."""
        return SiteContent(
            site=self.settings.site,
            state=self.settings.state,
            site_key=self._site_key,
            installations=self.settings.installations,
        )

    def tried_installation(self, name: str) -> Mapping[str, str]:
        """Return the versions in a named Ansible installation, once it has started. Raises Unavailable."""
        environment = self.settings.installations[name]
        installed(environment)
        return versions_in(environment, self.settings.site) | {"ansible-core": try_out(environment)}

    def free_memory(self) -> int:
        """Return the MiB of memory that a new process could have."""
        return free_memory()

    @cached_property
    def inventory(self) -> AnsibleInventory:
        """The site's hosts."""
        return self.inventory_of("")

    def inventory_of(self, installation: str) -> AnsibleInventory:
        """Return the site's hosts as one of the Ansible installations reads them."""
        return AnsibleInventory(
            site=self.settings.site,
            frozen=self.content.root,
            site_key=self._site_key,
            vault_password=self._vault_password,
            variables=self._variable,
            programs=programs_of(self.settings.installations, installation),
            listings=Listings(self.settings.state / "listings"),
        )

    @cached_property
    def runner(self) -> KnockingRunner:
        """Ansible, supervised, cut into runs as installations and limits ask, and careful with passwords."""
        jobs, limits = self.settings.state / "jobs", self.settings.limits
        supervised = SupervisedRunner(
            jobs=jobs,
            content_root=self.content.root,
            forks=limits.forks_of_a_run(self.settings.forks),
            controller=Controller(
                environment=self._pinned_hosts | {FORM: self.settings.log.form.value},
                installations=self.settings.installations,
                variables=self._variable,
                slots=Slots(folder=self.settings.state / "slots", limits=limits),
            ),
            vault_password=self._vault_password,
            secrets=[_kept(reference) for reference in self.settings.secrets.values()],
        )
        parted = PartedRunner(supervised, jobs=jobs, throttle=limits.throttle)
        return KnockingRunner(runner=parted, probe=self.probe, hosts=self._hosts_of)

    def _hosts_of(self, job: Job) -> Mapping[str, Host]:
        """Return the hosts of the job's change, by the pattern that the flow itself asks for: it is known already."""
        spec = self.ledger.store.change(job.change).spec
        pattern = spec.production if job.environment is Environment.PRODUCTION else spec.staging
        return self._frozen_hosts(pattern, job.environment, job.content)

    @cached_property
    def _frozen_hosts(self) -> Callable[[str, Environment, str], Mapping[str, Host]]:
        # A dynamic inventory costs a start of Ansible each time; how hosts are reached is frozen with the content.
        return lru_cache(maxsize=8)(self.inventory.frozen_hosts)

    @cached_property
    def probe(self) -> MixedProbe:
        """The direct look at hosts. One for the process: it remembers which passwords were refused."""
        from orchestrator.adapters.probes.probes import MixedProbe
        from orchestrator.adapters.probes.ssh import SshProbe

        pins = self.settings.state / "known_hosts"
        return MixedProbe(others=SshProbe(known_hosts=pins), windows=_windows_probe)

    @cached_property
    def carriers(self) -> Carriers:
        """Those who carry changes."""
        site = str(self.settings.site)
        command = (sys.executable, "-m", "orchestrator", "--site", site, "worker", "--until-idle", str(IDLE))
        folder = self.settings.state / "carriers"
        return Carriers(
            folder, command, lambda: self.ledger, self._workers_seen, is_single=self.has_one_worker, typed=self._typed
        )

    def ask_before_carrying(self) -> None:
        """Ask the person at the terminal for what a worker will need. Raises Unavailable where nobody can be asked."""
        self.carriers.prepare(self._ask)

    def take_answers(self) -> None:
        """Take what was typed for this worker, and ask for what was not. Raises Unavailable where nobody can be."""
        take_over(os.environ)
        self._ask()

    def _ask(self) -> None:
        for question in self.settings.questions():
            answer(question)

    def _typed(self) -> tuple[str, int] | None:
        descriptor = hand_over(self.settings.questions())
        return None if descriptor is None else (DESCRIPTOR, descriptor)

    def _variable(self, name: str) -> Secret:
        """Return what the inventory looks up as an environment variable: a secret of that name, or the variable."""
        reference = self.settings.secrets.get(name) or Reference(kind=ReferenceKind.ENV, target=(name,))
        return resolve(reference)

    def _workers_seen(self) -> Sequence[WorkerSeen]:
        return self.workers.seen()

    @cached_property
    def workers(self) -> SqlWorkers:
        """Who is entered as a worker."""
        upgrade(self._url)
        return SqlWorkers(open_for_engine(self._url, size=2))

    @contextmanager
    def worker(self, manner: Manner, meanwhile: Callable[[], None] | None = None) -> Iterator[Worker]:
        """Give this process's worker.

        Where the database has one worker only, and it has it: wait for that one's end, and do ``meanwhile`` at every
        look; without that, raise Refused.
        """
        from orchestrator.engine.durable import Durable

        name = new_name()
        with only_one(self.carriers.lock, meanwhile) if self.has_one_worker else nullcontext() as alone:
            # The engine's own start would fail where several workers begin with an empty database.
            if self.ledger.queue is not None:
                self.ledger.queue.ready()
            durable = Durable(
                crew=replace(self.crew, tracer=self.tracer),
                engine=self._engine,
                executor=SINGLE if self.has_one_worker else name,
                codec=codec,
                sharing=self.carriers.share,
                at_once=self.settings.limits.jobs,
            )
            yield Worker(durable, self.workers, name, manner, self.clock, alone=alone)

    @cached_property
    def tracer(self) -> Tracer | None:
        """Whoever collects traces, where the site names one. Raises Unavailable without the extra ``telemetry``."""
        if not self.settings.traces:
            return None
        try:
            from orchestrator.adapters.telemetry.otlp import OtlpTracer
        except ImportError as error:
            raise Unavailable(
                f"[telemetry] endpoint is set, and what sends traces is not installed ({error.name}). Install it: "
                "pip install 'patch-orchestrator[telemetry]', or take the setting out."
            ) from error
        return OtlpTracer(self.settings.traces, self.settings.name)

    @cached_property
    def _url(self) -> str:
        return database_url(self.settings)

    @property
    def has_one_worker(self) -> bool:
        """Tell whether the database has one worker only, which works for every zone."""
        return sa.make_url(self._url).get_backend_name() == "sqlite"

    @cached_property
    def _engine(self) -> sa.Engine:
        return open_for_engine(self._url)

    @cached_property
    def holdings(self) -> StateHoldings:
        """What the state folder keeps because of changes."""
        return StateHoldings(state=self.settings.state, logs=self.settings.state / "carriers")

    @cached_property
    def backups(self) -> DatabaseBackups:
        """Copies of the database."""
        from orchestrator.adapters.store.backup import DatabaseBackups

        return DatabaseBackups(url=database_url(self.settings), site=self.settings.name, aside=self.settings.state)

    def traces(self) -> Traces:
        """Return what is known of the past besides the database."""
        file = self.settings.checkpoint_file
        return Traces(
            counters=self.holdings.counters(),
            worked=self.holdings.worked(),
            checkpoint=AppendedFile(file).newest() if file else None,
        )

    def measures(self) -> Sequence[Measure]:
        """Return the figures by which the site is watched, as they are now."""
        left = [c.id for c in self.ledger.store.changes(CARRIED) if not self.carriers.is_carried(c.id)]
        return observe(self.ledger, unattended=left, version=__version__)

    @cached_property
    def metrics(self) -> Exposition:
        """The figures, for Prometheus."""
        from orchestrator.adapters.metrics.prometheus import Exposition

        return Exposition(self.measures)

    @cached_property
    def known_hosts(self) -> KnownHosts:
        """The pinned SSH host keys."""
        from orchestrator.adapters.probes.known_hosts import KnownHosts

        return KnownHosts(self.settings.state / "known_hosts")

    @property
    def notary(self) -> Notary:
        """The installation's signature, with the key as it is now: another process may have replaced it."""
        file = self.settings.checkpoint_file
        return Notary(key=current(self.settings.signing_key.parent), outside=[AppendedFile(file)] if file else [])

    def rotate_key(self) -> str:
        """Replace the key that signs evidence; return the new one's fingerprint."""
        return rotate(self.settings.signing_key.parent, at=self.clock.now()).public.fingerprint

    @cached_property
    def crew(self) -> Crew:
        """Everything that work on hosts needs."""
        return Crew(
            ledger=self.ledger,
            inventory=self.inventory,
            content=self.content,
            packages=PackageStore(state=self.settings.state),
            runner=self.runner,
            probe=self.probe,
            kit=FolderKit(
                state=self.settings.state,
                frozen=self.content.root,
                restore_lines={name: tool.restore_line for name, tool in self._tools.items()},
                vault_password=self._vault_password,
                installations=self.settings.installations,
            ),
            providers=self._providers,
            classes={"packages": RollbackClass.PACKAGE}
            | {name: provider.rollback_class for name, provider in self.settings.rollback.items()},
            checks=service_checks(),
            node=socket.gethostname(),
            room=lambda: shutil.disk_usage(self.settings.state).free,
            throttle=self.settings.limits.throttle,
            lost_after=self.settings.lost_after,
        )

    def mask(self) -> Callable[[str], str]:
        """Return what masks the site's secrets in a text; those that cannot be had now cannot be said either."""
        references = [*self.settings.secrets.values(), self.settings.vault_password, self.settings.database.password]
        known = []
        for reference in filter(None, references):
            with suppress(Unavailable):
                known.append(resolve(reference).reveal())
        return Redactor(known).text

    def caller(self, key_file: str = "") -> Caller:
        """Return who calls; with a key, it is the one that was named."""
        who = calling_account()
        return Caller(account=who.account, address=who.address, key_file=key_file)

    def offered_keys(self, hosts: Sequence[Host]) -> Sequence[OfferedKeys]:
        """Return the SSH host keys that hosts offer."""
        from orchestrator.adapters.probes.host_keys import fetch_host_keys

        return fetch_host_keys(hosts)

    def latest_progress(self, change_id: str) -> str:
        """Return the newest task that Ansible has told of for a change, in words; nothing where there is none."""
        return latest_progress(self.settings.state / "jobs", change_id)

    def verify_trail(self, chain: str) -> Verdict:
        """Verify a chain of the database."""
        return verify_trail(chain, self.ledger.store.trail(chain))

    @cached_property
    def _tools(self) -> dict[str, CommandProvider]:
        tools = self.settings.rollback.items()
        return {name: CommandProvider(name=name, config=_command_config(tool)) for name, tool in tools}

    @cached_property
    def _providers(self) -> Mapping[str, RollbackProvider]:
        return {"packages": PackagesProvider(runner=self.runner), **self._tools}

    @cached_property
    def _vault_password(self) -> Secret:
        reference = self.settings.vault_password
        return resolve(reference) if reference is not None else Secret("")

    @cached_property
    def _pinned_hosts(self) -> dict[str, str]:
        return {"ANSIBLE_SSH_EXTRA_ARGS": f"-o UserKnownHostsFile={self.settings.state / 'known_hosts'}"}

    @cached_property
    def _site_key(self) -> bytes:
        file = self.settings.state / "site.key"
        try:
            return bytes.fromhex(file.read_text().strip())
        except (OSError, ValueError) as error:
            raise Unavailable(
                f"the site key {file} cannot be read: {error}. orchestrator init makes it; restore it from backup, "
                "for plans made with it can be checked with no other."
            ) from error


def verify_file(
    bundle: Path,
    keys: Sequence[str],
    *,
    history: Path | None = None,
    checkpoints: Path | None = None,
    signers: Path | None = None,
) -> Verdict:
    """Verify a bundle against pinned keys; needs no site."""
    pins = read_pins(keys, history=history, checkpoints=checkpoints, signers=signers)
    return verify_bundle(bundle, pins=pins, is_valid=SiteSigners(Path("people.yml")).is_valid)


def _kept(reference: Reference) -> Secret:
    return KeptSecret(lambda: resolve(reference).reveal())


def _windows_probe() -> Probe:
    # What speaks WinRM takes a while to load.
    from orchestrator.adapters.probes.winrm import WinRmProbe

    return WinRmProbe()


def _command_config(configured: CommandSettings) -> CommandConfig:
    return CommandConfig(
        take=configured.take,
        restore=configured.restore,
        release=configured.release,
        exists=configured.exists,
        rollback_class=configured.rollback_class,
        timeout=configured.timeout,
        parallel=configured.parallel,
    )


def database_url(settings: Settings) -> str:
    """Return the database's address with its password, for the driver alone."""
    url = sa.make_url(settings.database.url)
    if settings.database.password is not None:
        url = url.set(password=resolve(settings.database.password).reveal())
    return url.render_as_string(hide_password=False)
