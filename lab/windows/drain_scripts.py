r"""What the drain roles ask of a Windows host: their scripts by name and digest, each with what it does to the host.

The scripts are PowerShell and are not run. One that was edited is not known until somebody has made the answer here do
the same and written its new digest down. How a host stands is in its registry, so that a scenario can say it:

    registry:
      'HKLM:\Lab\Cluster': {state: Up, drain: NotInitiated, others: 'win2=Up', votes: 3, failed: '', stuck: ''}
      'HKLM:\Lab\Directory': {others: 'dc2', errors: '', shares: 'SYSVOL NETLOGON', synchronized: 'yes'}
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lab.windows.scripts import Answer, Asked, bare, knows

if TYPE_CHECKING:
    from lab.windows.host import WindowsHost

CLUSTER, DIRECTORY = r"HKLM:\Lab\Cluster", r"HKLM:\Lab\Directory"
#: sha256 of each script as Ansible sends it.
DIGESTS: Mapping[str, str] = {
    "patch_drain_domain_controller/drain.ps1": "99b946f4eae41c02e8c061ad5e982d113d927607b5b2736d6ce4cc4acaada9a8",
    "patch_drain_domain_controller/undrain.ps1": "96785aa00f7ae83aec43ee22070c5f3a478a60bab834cb1c437a11179d1d1d91",
    "patch_drain_failover_cluster/drain.ps1": "5b31f2fe483b8ef27b050313f9a33759f504208e91b6dae5e05c7e51f30d457b",
    "patch_drain_failover_cluster/undrain.ps1": "bdb4c53e58381bce2982b02669d95c8464505cbbc7747b27a8f08685beb20fa4",
}


class Refusal(Exception):
    """What the script throws."""


def digest(text: str) -> str:
    """Return what a script is known by."""
    lines = [line.rstrip() for line in bare(text).strip().splitlines()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@knows(r"^# (patch_drain_\w+/\w+\.ps1): .*$")
def drain_script(host: WindowsHost, asked: Asked) -> Answer:
    """Answer one of the roles' scripts, where it is the one that the lab knows."""
    name = asked[1]
    if digest(asked.found.string) != DIGESTS.get(name):
        return Answer(
            stderr=f"lab: {name} is not the script that the lab knows; see lab/windows/drain_scripts.py", rc=1
        )
    try:
        with host.lock:
            return _ANSWERS[name](host, asked.parameters)
    except Refusal as refusal:
        return Answer(stderr=str(refusal), rc=1)


def _cluster_drain(host: WindowsHost, _parameters: Mapping[str, object]) -> Answer:
    node = _kept(host, CLUSTER, "The specified module 'FailoverClusters' was not loaded")
    state = node["state"]
    if state == "Paused" and node["drain"] == "NotInitiated":
        raise Refusal(f"Node {host.name} is paused, and was not drained: somebody has paused it by hand.")
    absent = [other for other in node.get("others", "").split() if not other.endswith("=Up")]
    if absent:
        told = ", ".join(other.replace("=", " is ") for other in absent)
        raise Refusal(f"Node {host.name} cannot leave: {told}. No two nodes may be out of the cluster at once.")
    votes = int(node["votes"])
    if 2 * (votes - 1) <= votes:
        raise Refusal(f"Node {host.name} cannot leave: {votes - 1} of {votes} votes would be left.")
    if node.get("failed"):
        raise Refusal(f"Roles of the cluster have failed before anything was done: {node['failed']}.")
    _keep(host, CLUSTER, state="Paused", drain="Failed" if node.get("stuck") else "Completed")
    if node.get("stuck"):
        raise Refusal(f"Node {host.name} could not be drained: a role did not move.")
    return _told(state == "Up", node=host.name, state="Paused", votes=votes, votes_left=votes - 1)


def _cluster_undrain(host: WindowsHost, parameters: Mapping[str, object]) -> Answer:
    node = _kept(host, CLUSTER, "The specified module 'FailoverClusters' was not loaded")
    service = host.machine.services.get("clussvc")
    if service is not None and service.state != "started":
        raise Refusal(f"Node {host.name} is not a member that answers, and {parameters['Limit']} s have passed.")
    _keep(host, CLUSTER, state="Up", drain="NotInitiated", failback=str(parameters["Failback"]))
    if node.get("failed"):
        raise Refusal(f"Node {host.name} is up, but roles of the cluster have failed: {node['failed']}.")
    return _told(node["state"] == "Paused", node=host.name, state="Up")


def _directory_drain(host: WindowsHost, parameters: Mapping[str, object]) -> Answer:
    kept = _kept(host, DIRECTORY, "The specified module 'ActiveDirectory' was not loaded")
    others, wanted = kept.get("others", "").split(), int(str(parameters["Others"]))
    if len(others) < wanted:
        raise Refusal(
            f"{host.name} cannot leave: {wanted} other controllers of the domain have to answer, and {len(others)} do."
        )
    if kept.get("errors"):
        raise Refusal(f"{host.name} does not replicate, before anything was done to it: {kept['errors']}.")
    return _told(False, controller=host.name, answering=others, roles_held=[])


def _directory_undrain(host: WindowsHost, parameters: Mapping[str, object]) -> Answer:
    kept = _kept(host, DIRECTORY, "The specified module 'ActiveDirectory' was not loaded")
    services = [host.machine.services.get(name) for name in ("ntds", "kdc", "netlogon")]
    problems = [f"the service {s.name} is {s.state}" for s in services if s is not None and s.state != "started"]
    problems += [f"{name} is not shared" for name in ("SYSVOL", "NETLOGON") if name not in kept.get("shares", "")]
    problems += ["the directory is not synchronized"] if kept.get("synchronized") != "yes" else []
    problems += [f"replication: {kept['errors']}"] if kept.get("errors") else []
    if problems:
        limit, told = parameters["Limit"], "; ".join(problems)
        raise Refusal(f"{host.name} is not well as a domain controller after {limit} s: {told}.")
    return _told(False, controller=host.name)


_ANSWERS: Mapping[str, Callable[[WindowsHost, Mapping[str, object]], Answer]] = {
    "patch_drain_domain_controller/drain.ps1": _directory_drain,
    "patch_drain_domain_controller/undrain.ps1": _directory_undrain,
    "patch_drain_failover_cluster/drain.ps1": _cluster_drain,
    "patch_drain_failover_cluster/undrain.ps1": _cluster_undrain,
}


def _kept(host: WindowsHost, path: str, otherwise: str) -> dict[str, str]:
    key = host.machine.registry.find(path)
    if key is None:
        raise Refusal(otherwise)
    return {name: str(value) for name, (_, value) in key.values.items()}


def _keep(host: WindowsHost, path: str, **values: str) -> None:
    host.machine.registry.make(path).values.update({name: ("REG_SZ", value) for name, value in values.items()})


def _told(changed: bool, **result: object) -> Answer:
    return Answer(result=result, output=[], changed=changed)
