"""Hosts of every kind looked at at once: Windows hosts over WinRM, the others over SSH."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from orchestrator.domain.inventory import Host
from orchestrator.domain.probe import Needs, ProbeReport
from orchestrator.ports import Probe


class MixedProbe:
    """Hands each host to the probe that speaks with it; implements ``ports.Probe``.

    ``windows`` makes the probe of Windows hosts when the first one is met: most sites would load it for nothing.
    """

    def __init__(self, *, others: Probe, windows: Callable[[], Probe]) -> None:
        self._others, self._make = others, windows
        self._windows: Probe | None = None

    def look(self, hosts: Sequence[Host], needs: Needs) -> Sequence[ProbeReport]:
        """Look at all hosts at once; one report per host, in the same order."""
        return self._all(hosts, lambda probe, mine: probe.look(mine, needs))

    def knock(self, hosts: Sequence[Host]) -> Sequence[ProbeReport]:
        """Log in to one host of each account that has a password."""
        return self._all(hosts, lambda probe, mine: probe.knock(mine))

    def _all(
        self, hosts: Sequence[Host], ask: Callable[[Probe, Sequence[Host]], Sequence[ProbeReport]]
    ) -> Sequence[ProbeReport]:
        windows = [host for host in hosts if host.connection.winrm]
        others = [host for host in hosts if not host.connection.winrm]
        if not windows:
            return ask(self._others, others)
        with ThreadPoolExecutor(1, thread_name_prefix="probes") as beside:
            looking = beside.submit(ask, self._windows_probe(), windows)
            told = [*ask(self._others, others), *looking.result()]
        found = {id(host): report for host, report in zip([*others, *windows], told, strict=True)}
        return [found[id(host)] for host in hosts]

    def _windows_probe(self) -> Probe:
        if self._windows is None:
            self._windows = self._make()
        return self._windows
