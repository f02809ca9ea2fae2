#!/usr/bin/python
"""Ansible module: fetch the chosen items and what they need from the repositories."""

DOCUMENTATION = r"""
module: patch_download
short_description: Fetch chosen packages and their new dependencies to the host
description:
  - Works out the whole transaction that the repositories would make of the items, and fetches its files into
    C(/var/lib/patch-orchestrator/packages). Nothing is installed. This is how staging makes a lock.
extends_documentation_fragment: patch_job
author: Patch Orchestrator
"""

EXAMPLES = r"""
- name: Fetch the packages
  patch_download:
    job: "{{ patch_job }}"
"""

RETURN = r"""
report:
  description: The C(download) report of docs/playbook-interface.md.
  type: dict
  returned: always
files:
  description: The files on the host, as path and sha256.
  type: list
  returned: always
"""

from ansible.module_utils.patch_host.entry import run_module
from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_host.job import item_of
from ansible.module_utils.patch_host.lock import split_items


def act(host):
    family, job = host.family, host.job
    upgrades, _available = split_items(job.items, family.installed(), family.compare)
    simulation = family.resolve(upgrades)
    problems = list(simulation.problems)
    problems += ["it would remove %s" % one.name for one in simulation.transitions if not one.new]
    problems += ["%s is on the exclude list" % one.name for one in simulation.transitions if job.excludes(one.name)]
    if problems:
        raise PatchError(
            "The chosen items were to be fetched, but installing them is refused: %s. Choose other items."
            % "; ".join(problems)
        )
    items = _described(family, simulation.transitions)
    sources = host.files.fetch(family, [item_of(one) for one in items]) if items and not host.check_mode else {}
    lost = [one["name"] for one in items if (one["name"], one["arch"]) not in sources]
    if lost and not host.check_mode:
        raise PatchError(
            "The chosen items were to be fetched, but no repository gave %s with the sha256 that it announces. "
            "Look at the mirror, then try again." % ", ".join(lost)
        )
    return {
        "changed": "repository" in sources.values(),
        "report": {"kind": "download", "items": items},
        "files": [{"path": host.files.path(item_of(one)), "sha256": one["sha256"]} for one in items],
    }


def _described(family, transitions):
    wanted = [item_of({"name": t.name, "arch": t.arch, "version": t.new}) for t in transitions]
    old = {(t.name, t.arch): t.old for t in transitions}
    items = []
    for one in family.describe(wanted):
        item = {name: value for name, value in one.items() if name != "held"}
        items.append(dict(item, from_version=old.get((one["name"], one["arch"]), "")))
    unknown = {t.name for t in transitions} - {one["name"] for one in items}
    if unknown:
        raise PatchError(
            "The chosen items were to be fetched, but no repository offers %s. Scan the host again."
            % ", ".join(sorted(unknown))
        )
    return items


def main():
    run_module(act, supports_check_mode=True)


if __name__ == "__main__":
    main()
