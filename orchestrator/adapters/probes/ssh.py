"""A direct look at many hosts at once, over SSH."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.probes.accounts import Accounts, Memory
from orchestrator.adapters.probes.findings import Findings, read, script
from orchestrator.adapters.probes.known_hosts import KnownHosts, Pins, known_name
from orchestrator.adapters.probes.login import log_in
from orchestrator.adapters.probes.reporting import reported, skew
from orchestrator.adapters.probes.session import SshShell, check_host_key, host_key, session
from orchestrator.adapters.probes.shell import Answer, LocalShell, Shell, first_line, run_as_root
from orchestrator.adapters.probes.stages import Deadline, StageFailed
from orchestrator.domain.inventory import Connection, Host
from orchestrator.domain.probe import Needs, ProbeReport, Stage
from orchestrator.errors import Unavailable


class SshProbe:
    """Looks at hosts over SSH, and at this machine where the connection is ``local``; implements ``ports.Probe``.

    ``known_hosts`` are the site's pinned keys, for hosts whose connection names no file of its own. ``timeout`` is
    what one host may take in all, in seconds, ``pool`` how many are looked at at once.
    """

    def __init__(
        self,
        *,
        known_hosts: Path,
        pool: int = 50,
        timeout: float = 15.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._known_hosts = known_hosts
        self._pool = pool
        self._timeout = timeout
        self._now = now
        self._memory = Memory()

    def look(self, hosts: Sequence[Host], needs: Needs) -> Sequence[ProbeReport]:
        """Look at all hosts at once; one report per host, in the same order."""
        return self._all(hosts, needs, Accounts(self._memory))

    def knock(self, hosts: Sequence[Host]) -> Sequence[ProbeReport]:
        """Log in to one host of each account that has a password, and tell which hosts are refused or not to be tried.

        A host that needs no password is not asked.
        """
        accounts = Accounts(self._memory, is_knock=True)
        asked = self._all([host for host in hosts if _shows_a_password(host.connection)], None, accounts)
        found = {report.host: report for report in asked}
        return [found.get(host.name) or ProbeReport(host=host.name) for host in hosts]

    def _all(self, hosts: Sequence[Host], needs: Needs | None, accounts: Accounts) -> Sequence[ProbeReport]:
        if not hosts:
            return []
        pins = {file: _pins(file) for file in {self._file_of(host) for host in hosts}}

        def look_at(host: Host) -> ProbeReport:
            look = _Look(pins[self._file_of(host)], needs, accounts, Deadline(self._timeout))
            return reported(host, lambda: self._report(host, look))

        with ThreadPoolExecutor(min(self._pool, len(hosts)), thread_name_prefix="probe") as pool:
            return list(pool.map(look_at, hosts))

    def _report(self, host: Host, look: _Look) -> ProbeReport:
        connection, deadline = host.connection, look.deadline
        if connection.kind == "local":
            return self._judged(host, LocalShell(), look)
        if connection.kind != "ssh" or connection.winrm:
            told = f"this probe speaks ssh and local, and the inventory says {connection.kind}"
            raise StageFailed(Stage.CONNECT, told)
        if isinstance(look.pins, Unavailable):
            raise StageFailed(Stage.HOST_KEY, str(look.pins))
        known = look.pins.good_for(known_name(connection.address, connection.port))
        with session(connection, deadline, [key.kind for key in known]) as transport:
            check_host_key(host.name, host_key(transport), known)
            log_in(transport, connection, deadline, lambda user: look.trying(user, host))
            return self._judged(host, SshShell(transport), look)

    def _judged(self, host: Host, shell: Shell, look: _Look) -> ProbeReport:
        if look.needs is None:
            return ProbeReport(host=host.name)
        asked = script(host.family, look.needs)
        before = self._now()
        answer = run_as_root(shell, asked, host.connection, look.deadline, lambda: look.trying_sudo(host))
        after = self._now()
        findings = read(answer.out)
        _require_whole(findings, answer, host.connection, look.deadline)
        ahead = skew(findings.time, before, after)
        misfits = findings.misfits(look.needs, ahead)
        return ProbeReport(
            host=host.name,
            failed_at=misfits[0][0] if misfits else None,
            detail="; ".join(text for _, text in misfits) or "; ".join(findings.reboot_reasons),
            pending_reboot=bool(findings.reboot_reasons),
            rivals=findings.rivals,
            clock_skew=ahead,
        )

    def _file_of(self, host: Host) -> Path:
        named = host.connection.known_hosts
        return Path(named).expanduser() if named else self._known_hosts


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at one host; without needs it ends with the login."""

    pins: Pins | Unavailable
    needs: Needs | None
    accounts: Accounts
    deadline: Deadline

    def trying(self, user: str, host: Host) -> AbstractContextManager[None]:
        """Show the host the account's password within the block."""
        return self.accounts.trying(user, host.connection.password, host.name, self.deadline)

    def trying_sudo(self, host: Host) -> AbstractContextManager[None]:
        """Show sudo the become password within the block."""
        user, password = f"sudo of {host.connection.user}", host.connection.become_password
        return self.accounts.trying(user, password, host.name, self.deadline, stage=Stage.PRIVILEGE)


def _shows_a_password(connection: Connection) -> bool:
    return connection.kind == "ssh" and bool(connection.password)


def _pins(file: Path) -> Pins | Unavailable:
    try:
        return Pins(KnownHosts(file).pinned())
    except Unavailable as error:
        # A report for the hosts that need this file; the others are looked at all the same.
        return error


def _require_whole(findings: Findings, answer: Answer, connection: Connection, deadline: Deadline) -> None:
    """Raise StageFailed unless root answered every question."""
    if not findings.began:
        silent = f"no shell answered within {deadline}"
        reason = silent if answer.code is None else first_line(answer.err or answer.out)
        raise StageFailed(Stage.PRIVILEGE, f"the host let us in, but root's shell did not begin: {reason}")
    if findings.uid != 0:
        how = (
            "and the inventory does not say become"
            if not connection.become
            else f"in spite of {connection.become_method}"
        )
        raise StageFailed(Stage.PRIVILEGE, f"patching takes root, this account has the user id {findings.uid}, {how}")
    if not findings.is_complete:
        stage, question = findings.reached
        why = f"within {deadline}" if answer.code is None else f"and ended with {answer.code}: {first_line(answer.err)}"
        raise StageFailed(stage, f"the host did not answer about {question} {why}")
