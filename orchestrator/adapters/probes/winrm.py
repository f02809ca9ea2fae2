"""A direct look at many Windows hosts at once, over WinRM."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from orchestrator.adapters.probes.accounts import Accounts, Memory
from orchestrator.adapters.probes.reporting import in_time, reported, skew
from orchestrator.adapters.probes.shell import Answer, first_line
from orchestrator.adapters.probes.stages import Deadline, StageFailed
from orchestrator.adapters.probes.tickets import Tickets
from orchestrator.adapters.probes.winrm_findings import SCRIPT, WindowsFindings, read
from orchestrator.adapters.probes.winrm_greeting import greet, usable
from orchestrator.adapters.probes.winrm_session import WinRmSession, installed
from orchestrator.domain.inventory import Connection, Host
from orchestrator.domain.probe import Needs, ProbeReport, Stage


class WinRmProbe:
    """Looks at hosts whose connection is ``winrm`` or ``psrp``; implements ``ports.Probe``.

    ``timeout`` is what one host may take in all, in seconds, ``pool`` how many are looked at at once.
    """

    def __init__(self, *, pool: int = 50, timeout: float = 15.0, now: Callable[[], float] = time.time) -> None:
        self._pool = pool
        self._timeout = timeout
        self._now = now
        self._memory = Memory()
        self._tickets = Tickets()

    def look(self, hosts: Sequence[Host], needs: Needs) -> Sequence[ProbeReport]:
        """Look at all hosts at once; one report per host, in the same order."""
        return self._all(hosts, needs, Accounts(self._memory))

    def knock(self, hosts: Sequence[Host]) -> Sequence[ProbeReport]:
        """Log in to one host of each account that has a password, and tell which hosts are refused or not to be tried.

        A host that is shown no password is not asked.
        """
        accounts = Accounts(self._memory, is_knock=True)
        asked = self._all([host for host in hosts if _shows_a_password(host.connection)], None, accounts)
        found = {report.host: report for report in asked}
        return [found.get(host.name) or ProbeReport(host=host.name) for host in hosts]

    def _all(self, hosts: Sequence[Host], needs: Needs | None, accounts: Accounts) -> Sequence[ProbeReport]:
        if not hosts:
            return []

        def look_at(host: Host) -> ProbeReport:
            look = _Look(host, needs, accounts, self._tickets, Deadline(self._timeout), self._now)
            # Requests within a login, and drops of an answer, each begin their own time-out.
            return reported(host, lambda: in_time(look.report, look.deadline, look.too_late))

        with ThreadPoolExecutor(min(self._pool, len(hosts)), thread_name_prefix="probe") as pool:
            return list(pool.map(look_at, hosts))


@dataclass(slots=True)
class _Look:
    """One look at one host, and how far it has come; without needs it ends with the login."""

    host: Host
    needs: Needs | None
    accounts: Accounts
    tickets: Tickets
    deadline: Deadline
    now: Callable[[], float]
    stage: Stage = Stage.CONNECT

    def too_late(self) -> StageFailed:
        """Return what is told of a host whose time is over."""
        return StageFailed(self.stage, f"the host did not answer within {self.deadline}")

    def report(self) -> ProbeReport:
        """Connect, TLS, log in, run, read, and judge. Raises StageFailed."""
        connection = self.host.connection
        session = self._logged_in(connection)
        try:
            if self.needs is None:
                return ProbeReport(host=self.host.name)
            before = self.now()
            answer = session.run(SCRIPT)
            after = self.now()
            self.stage = Stage.PARSE
            findings = _read(answer)
            return self._judged(findings, self.needs, skew(findings.time, before, after))
        finally:
            session.close()

    def _logged_in(self, connection: Connection) -> WinRmSession:
        if connection.winrm is None:
            raise StageFailed(Stage.CONNECT, f"this probe speaks WinRM, and the inventory says {connection.kind}")
        winrm = connection.winrm
        # What a proxy lets through only the request itself can tell.
        ways = winrm.authentication if winrm.proxy else usable(winrm, greet(connection, winrm, self.deadline))
        self.stage = Stage.AUTHENTICATE
        way = installed(ways, connection.user)
        session = WinRmSession(connection, winrm, way, self.deadline)
        try:
            with self._trying(connection, way):
                if way == "kerberos" and connection.password and not winrm.has_ticket:
                    forwardable = winrm.delegates
                    self.tickets.get(connection.user, connection.password, self.deadline, forwardable=forwardable)
                problem = session.log_in()
            if problem is not None:
                raise problem
        except BaseException:
            session.close()
            raise
        self.stage = Stage.RUN
        return session

    def _trying(self, connection: Connection, way: str) -> AbstractContextManager[None]:
        if way == "certificate" or (way == "kerberos" and not connection.password):
            return nullcontext()
        if not connection.password:
            # An empty one would be tried, and refused, on every host.
            raise StageFailed(Stage.AUTHENTICATE, f"the inventory gives no password (ansible_password) for {way}")
        return self.accounts.trying(connection.user, connection.password, self.host.name, self.deadline)

    def _judged(self, findings: WindowsFindings, needs: Needs, ahead: int) -> ProbeReport:
        ahead = 0 if "time" in findings.failed else ahead
        misfits = findings.misfits(needs, ahead)
        return ProbeReport(
            host=self.host.name,
            failed_at=misfits[0][0] if misfits else None,
            detail="; ".join(text for _, text in misfits) or "; ".join(findings.reboot_reasons),
            pending_reboot=bool(findings.reboot_reasons),
            rivals=findings.rivals,
            clock_skew=ahead,
            uptime=findings.uptime,
            update_server=findings.updates.server,
        )


def _shows_a_password(connection: Connection) -> bool:
    by_certificate = connection.winrm is not None and connection.winrm.authentication == ("certificate",)
    return bool(connection.password) and not by_certificate


def _read(answer: Answer) -> WindowsFindings:
    if answer.code != 0:
        told = f"ended with {answer.code}: {first_line(answer.err or answer.out)}"
        raise StageFailed(Stage.RUN, f"the script {told}")
    return read(answer.out)
