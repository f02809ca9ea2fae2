#!/usr/bin/python
"""Ansible module: what is installed, what could be, and what a lock would do."""

DOCUMENTATION = r"""
module: patch_scan
short_description: Look at a host's packages and at what a lock would do
description:
  - Reports what is installed and what the repositories offer; with items in the job also the transaction that
    installing exactly these would be. Nothing but the repositories' indexes is changed on the host.
options:
  refresh:
    description: Whether the repositories' indexes are read anew first.
    type: bool
    default: true
extends_documentation_fragment: patch_job
author: Patch Orchestrator
"""

EXAMPLES = r"""
- name: Look at the packages
  patch_scan:
    job: "{{ patch_job }}"
"""

RETURN = r"""
report:
  description: The C(scan) report of docs/playbook-interface.md.
  type: dict
  returned: always
"""

from ansible.module_utils.patch_host.entry import run_module
from ansible.module_utils.patch_host.lock import judge, reported, split_items
from ansible.module_utils.patch_host.state import distribution


def act(host):
    family, job = host.family, host.job
    if host.options["refresh"] and not host.check_mode:
        family.refresh()
    installed = family.installed()
    report = {
        "kind": "scan",
        "family": family.name,
        "distribution": distribution(),
        "arch": family.architecture(),
        "installed": [dict(package._asdict()) for package in installed],
        "candidates": family.candidates(installed),
    }
    if job.items:
        report["simulation"] = _simulate(host, installed)
    return {"changed": False, "report": report}


def _simulate(host, installed):
    family, job = host.family, host.job
    upgrades, available = split_items(job.items, installed, family.compare)
    held = {package.name for package in installed if package.held}
    simulation = family.simulate(upgrades, available, "")
    wanted = {(one.name, one.arch): one for one in simulation.transitions}
    work = [item for item in [*upgrades, *available] if item in upgrades or (item.name, item.arch) in wanted]
    offered = {(one["name"], one["version"]) for one in family.describe(work)}
    return {
        "applicable": [
            {"name": item.name, "arch": item.arch, "from": _installed_version(installed, item), "to": item.version}
            for item in work
        ],
        "unavailable": sorted(item.name for item in work if (item.name, item.version) not in offered),
        "transitions": reported(simulation.transitions),
        "problems": judge(simulation, upgrades, available, job, held),
    }


def _installed_version(installed, item):
    same = [package for package in installed if package.name == item.name]
    exact = [package for package in same if package.arch == item.arch] or same
    return exact[0].version if exact else ""


def main():
    run_module(act, {"refresh": {"type": "bool", "default": True}}, supports_check_mode=True)


if __name__ == "__main__":
    main()
