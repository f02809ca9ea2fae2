"""Clusters: whose members are worked on one at a time, and what has to be well before the next one begins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from orchestrator.domain.inventory import Host
from orchestrator.domain.plan import Content
from orchestrator.domain.run import HostRun, HostStatus


def is_in_service(run: HostRun) -> bool:
    """Tell whether a host does its work, as far as this change knows: never touched, or verified and undrained.

    A host that was found dead or unfit is not known to work, and neither is one that somebody works on now.
    """
    if run.drained or run.unfit or run.status.is_at_work:
        return False
    return not run.touched or run.status in (HostStatus.DONE, HostStatus.RESTORED)


def why_not_next(runs: Iterable[HostRun], clusters: Mapping[str, str], hosts: Sequence[str]) -> dict[str, str]:
    """Return which of the hosts may not begin, each with the member of its cluster that is not in service.

    ``runs`` are the hosts of the change, of which ordinary ones may be left out. ``clusters`` says which cluster each
    is in; a host without one is never held.
    """
    absent: dict[str, list[HostRun]] = {}
    for run in runs:
        if (cluster := clusters.get(run.host, "")) and not is_in_service(run):
            absent.setdefault(cluster, []).append(run)
    held = {}
    for host in hosts:
        cluster = clusters.get(host, "")
        other = next((run for run in absent.get(cluster, ()) if run.host != host), None)
        if cluster and other is not None:
            held[host] = f"one at a time per cluster: {other.host}, of {cluster} too, is {_state(other)}"
    return held


def why_no_drain(hosts: Sequence[Host], content: Content) -> tuple[str, ...]:
    """Return, in words, each drain role that hosts name and that the site does not have with both its entry points.

    A role of a collection (with dots in its name) is Ansible's to find.
    """
    files = {file.path for file in content.files}
    found = []
    for name in sorted({host.drain for host in hosts if host.drain and "." not in host.drain}):
        parts = (f"roles/{name}/tasks/drain.yml", f"roles/{name}/tasks/undrain.yml")
        lost = [part for part in parts if not any(path == part or path.endswith(f"/{part}") for path in files)]
        if lost:
            users = [host.name for host in hosts if host.drain == name]
            told = ", ".join(users[:3]) + (f" and {len(users) - 3} more" if len(users) > 3 else "")
            found.append(f"{told}: patch_drain is {name!r}, and this site has no {' and no '.join(lost)}")
    return tuple(found)


def _state(run: HostRun) -> str:
    if run.status.is_at_work:
        return "at work"
    return f"{run.status}{', as unfit' if run.unfit else ''}{', and drained' if run.drained else ''}"
