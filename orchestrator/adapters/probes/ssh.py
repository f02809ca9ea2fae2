"""A direct look at many hosts at once, over SSH."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from traceback import format_exception

from orchestrator.adapters.probes.findings import Findings, read, script
from orchestrator.adapters.probes.known_hosts import KnownHosts, Pins, known_name
from orchestrator.adapters.probes.login import log_in
from orchestrator.adapters.probes.session import SshShell, check_host_key, host_key, session
from orchestrator.adapters.probes.shell import Answer, LocalShell, first_line, run_as_root
from orchestrator.adapters.probes.stages import Deadline, StageFailed
from orchestrator.domain.inventory import Connection, Host
from orchestrator.domain.probe import Needs, ProbeReport, Stage
from orchestrator.errors import Unavailable

_LOG = logging.getLogger(__name__)


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

    def look(self, hosts: Sequence[Host], needs: Needs) -> Sequence[ProbeReport]:
        """Look at all hosts at once; one report per host, in the same order."""
        if not hosts:
            return []
        pins = {file: _pins(file) for file in {self._file_of(host) for host in hosts}}
        with ThreadPoolExecutor(min(self._pool, len(hosts)), thread_name_prefix="probe") as pool:
            return list(pool.map(lambda host: self._look_at(host, needs, pins), hosts))

    def _look_at(self, host: Host, needs: Needs, pins: Mapping[Path, Pins | Unavailable]) -> ProbeReport:
        began = time.monotonic()
        try:
            report = self._report(host, needs, pins[self._file_of(host)], Deadline(self._timeout))
        except StageFailed as failed:
            detail = _without_secrets(failed.detail, host.connection)
            report = ProbeReport(host=host.name, failed_at=failed.stage, detail=detail)
        except Exception as error:
            # Whatever one odd host sets off here, the look at all the others stands.
            # Not as exception: a traceback ends with the error's own words, and those may hold a password.
            told = _without_secrets("".join(format_exception(error)), host.connection)
            _LOG.error("probe of %s failed\n%s", host.name, told, extra={"host": host.name})
            detail = _without_secrets(f"the probe itself failed: {type(error).__name__}: {error}", host.connection)
            report = ProbeReport(host=host.name, failed_at=Stage.CONNECT, detail=detail)
        report = replace(report, milliseconds=round((time.monotonic() - began) * 1000))
        _LOG.debug(
            "probe of %s: %s in %s ms",
            host.name,
            report.failed_at or "fit",
            report.milliseconds,
            extra={"host": host.name},
        )
        return report

    def _report(self, host: Host, needs: Needs, pins: Pins | Unavailable, deadline: Deadline) -> ProbeReport:
        asked = script(host.family, needs)
        if host.connection.kind == "local":
            return self._judged(
                host, needs, deadline, lambda: run_as_root(LocalShell(), asked, host.connection, deadline)
            )
        if host.connection.kind != "ssh":
            kind = host.connection.kind
            raise StageFailed(Stage.CONNECT, f"this probe speaks ssh and local, and the inventory says {kind}")
        if isinstance(pins, Unavailable):
            raise StageFailed(Stage.HOST_KEY, str(pins))
        known = pins.good_for(known_name(host.connection.address, host.connection.port))
        with session(host.connection, deadline, [key.kind for key in known]) as transport:
            check_host_key(host.name, host_key(transport), known)
            log_in(transport, host.connection, deadline)
            shell = SshShell(transport)
            return self._judged(host, needs, deadline, lambda: run_as_root(shell, asked, host.connection, deadline))

    def _judged(self, host: Host, needs: Needs, deadline: Deadline, ask: Callable[[], Answer]) -> ProbeReport:
        before = self._now()
        answer = ask()
        after = self._now()
        findings = read(answer.out)
        _require_whole(findings, answer, host.connection, deadline)
        skew = _skew(findings.time, before, after)
        misfits = findings.misfits(needs, skew)
        return ProbeReport(
            host=host.name,
            failed_at=misfits[0][0] if misfits else None,
            detail="; ".join(text for _, text in misfits) or "; ".join(findings.reboot_reasons),
            pending_reboot=bool(findings.reboot_reasons),
            rivals=findings.rivals,
            clock_skew=skew,
        )

    def _file_of(self, host: Host) -> Path:
        named = host.connection.known_hosts
        return Path(named).expanduser() if named else self._known_hosts


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


def _skew(told: int, before: float, after: float) -> int:
    """Return by how many seconds the host is ahead of us (negative: behind) beyond what the round trip explains."""
    if told > after:
        return int(told - after)
    # The host tells whole seconds, cut off: up to one more may have passed.
    return -max(0, int(before - told - 1))


def _without_secrets(detail: str, connection: Connection) -> str:
    for secret in (connection.password, connection.become_password):
        if secret:
            detail = detail.replace(secret.reveal(), "***")
    return detail
