"""What no longer is as it was approved, and what follows from it: the approval is void, or one host is dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.inventory import Host
from orchestrator.domain.plan import Content, HostPlan, PatchPlan


def voiding(change: ChangeRequest, plan: PatchPlan, content: Content, hosts: Sequence[Host]) -> tuple[str, ...]:
    """Return, in words, every difference that makes the approval void; nothing where there is none.

    Content, policy and window definition are compared as a whole; of the hosts, what the inventory says about those
    that are still there. A newer candidate in a repository and new hosts in the group are no drift.
    """
    found = []
    if plan.digest != change.plan_digest:
        found.append(f"the stored plan is {plan.digest[:12]}, approved was {change.plan_digest[:12]}")
    if plan.spec != change.spec:
        found.append("the policy, the window or another part of the request is not what was planned")
    found += content_changes(plan.content, content)
    planned = plan.by_host
    for host in hosts:
        if host.name in planned and host.fingerprint != planned[host.name].variables:
            found.append(f"the inventory says something else about {host.name}")
    return tuple(found)


def content_changes(approved: Content, now: Content) -> tuple[str, ...]:
    """Return which files and versions differ."""
    before = {file.path: file.sha256 for file in approved.files}
    after = {file.path: file.sha256 for file in now.files}
    found = [f"{path} was removed" for path in sorted(before.keys() - after.keys())]
    found += [f"{path} is new" for path in sorted(after.keys() - before.keys())]
    found += [f"{path} was changed" for path in sorted(before.keys() & after.keys()) if before[path] != after[path]]
    names = sorted(approved.versions.keys() | now.versions.keys())
    for name in names:
        was, is_now = approved.versions.get(name, "absent"), now.versions.get(name, "absent")
        if was != is_now:
            found.append(f"{name} was {was} and is {is_now}")
    return tuple(found)


def vanished(plan: PatchPlan, hosts: Sequence[Host]) -> dict[str, str]:
    """Return the planned hosts that the inventory no longer holds, each with the reason to drop it."""
    present = {host.name for host in hosts}
    return {h.host: "no longer in the inventory" for h in plan.hosts if h.host not in present}


def why_drop(plan: HostPlan, installed: Mapping[str, str]) -> str:
    """Return why a host must be dropped, given what is installed (``name:arch`` -> version), or an empty text.

    Already patched, or another version than the plan goes out from: what was proven was not proven for that.
    """
    now = {item: installed.get(f"{item.name}:{item.arch}", "") for item in plan.items}
    if all(version == item.version for item, version in now.items()):
        return "already at the locked versions"
    moved = [
        f"{item.name} is {version or 'absent'}, planned from {item.from_version or 'absent'}"
        for item, version in now.items()
        if version not in (item.from_version, item.version)
    ]
    return "; ".join(moved)
