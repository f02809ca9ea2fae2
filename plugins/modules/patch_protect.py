#!/usr/bin/python
"""Ansible module: claim a host and secure its old and its new packages."""

DOCUMENTATION = r"""
module: patch_protect
short_description: Claim a host, hold rival updaters, secure the old and the new packages
description:
  - A protection is three calls with the same job. V(claimed) begins the step C(protect), claims the host, holds what
    updates packages by itself and looks at the host. V(secured) takes the rollback point and fetches the new files.
    V(finished) checks that all new files are there and that they would install exactly the lock, and ends the step.
  - Between the last two the caller pushes the files that no repository gave.
options:
  state:
    description: Which of the three is wanted.
    type: str
    choices: [claimed, secured, finished]
    required: true
  pushed:
    description: For V(finished), the sha256 of the files that were pushed.
    type: list
    elements: str
    default: []
  fetched:
    description: For V(finished), the packages (name:arch) that V(secured) fetched from repositories.
    type: list
    elements: str
    default: []
extends_documentation_fragment: patch_job
author: Patch Orchestrator
"""

EXAMPLES = r"""
- name: Claim the host
  patch_protect:
    job: "{{ patch_job }}"
    state: claimed
"""

RETURN = r"""
report:
  description: The C(state), C(point) or C(packages) report of docs/playbook-interface.md.
  type: dict
  returned: always
missing:
  description: For V(secured), the files (filename, sha256, path on the host) that no repository gave.
  type: list
  returned: state is secured
fetched:
  description: For V(secured), the packages (name:arch) that repositories gave.
  type: list
  returned: state is secured
"""

import os
import time

from ansible.module_utils.patch_host.entry import guarded, run_module
from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_host.lock import split_items
from ansible.module_utils.patch_host.rivals import Rivals
from ansible.module_utils.patch_host.state import collect_state
from ansible.module_utils.patch_host.transaction import prepare_patch

_STEP = "protect"
_PATIENCE = 30


def act(host):
    state = host.options["state"]
    if state == "claimed":
        host.begin(_STEP)
        return guarded(host, _STEP, lambda: _claim(host))
    host.journal.check(host.job.token, host.job.change, _STEP)
    return guarded(host, _STEP, lambda: _secure(host) if state == "secured" else _finish(host))


def _claim(host):
    held, changed = Rivals(host.family.shell, host.family.rival_units).hold()
    report = collect_state("before", host.job, host.family, host.journal)
    if report["manager"]["problems"] and not host.point.planned():
        _wait_until_well(host.family, report)
    return {"changed": changed, "report": report, "rivals": held}


def _wait_until_well(family, report):
    """Wait for a package manager that is at work; refuse a host whose packages are broken before it is touched."""
    problems = family.check_health()
    for _ in range(_PATIENCE):
        if not problems:
            return
        time.sleep(1)
        problems = family.check_health()
    raise PatchError(
        "The host was to be protected, but its package manager is not well: %s. Mend it, then try again."
        % "; ".join(problems),
        report,
    )


def _secure(host):
    family = host.family
    installed = family.installed()
    upgrades, available = split_items(host.job.items, installed, family.compare)
    _require_space(host, upgrades + available)
    names = {item.name: item for item in upgrades}
    old = [package for package in installed if package.name in names and _is_meant(package, names[package.name])]
    report, taken = host.point.take(family, old)
    sources = host.files.fetch(family, upgrades + available)
    missing = [item for item in upgrades + available if (item.name, item.arch) not in sources]
    return {
        "changed": taken or "repository" in sources.values(),
        "report": report,
        "fetched": ["%s:%s" % key for key, source in sorted(sources.items()) if source == "repository"],
        "missing": [
            {"filename": item.filename, "sha256": item.sha256, "path": host.files.path(item)} for item in missing
        ],
    }


def _finish(host):
    family, pushed = host.family, set(host.options["pushed"])
    fetched = set(host.options["fetched"])
    upgrades, available = split_items(host.job.items, family.installed(), family.compare)
    prepare_patch(host.job, family, host.files)
    items = []
    for item in upgrades + available:
        if host.files.is_good(item):
            name = "%s:%s" % (item.name, item.arch)
            source = "pushed" if item.sha256 in pushed else "repository" if name in fetched else "present"
            items.append(
                {"name": item.name, "arch": item.arch, "version": item.version, "sha256": item.sha256, "source": source}
            )
    host.end(_STEP, "ok")
    return {"changed": False, "report": {"kind": "packages", "items": items}}


def _is_meant(package, item):
    return package.arch == item.arch or "all" in (package.arch, item.arch) or "noarch" in (package.arch, item.arch)


def _require_space(host, items):
    """Refuse where the new files, the old ones and the unpacked packages do not fit beside each other."""
    needed = 4 * sum(item.size for item in items) + (64 << 20)
    os.makedirs(host.files.folder, mode=0o700, exist_ok=True)
    found = os.statvfs(host.files.folder)
    free = found.f_bavail * found.f_frsize
    if free < needed:
        raise PatchError(
            "The packages were to be secured in %s, which needs %d MB and has %d MB free. Make room and try again."
            % (host.files.folder, needed >> 20, free >> 20)
        )


def main():
    options = {
        "state": {"type": "str", "required": True, "choices": ["claimed", "secured", "finished"]},
        "pushed": {"type": "list", "elements": "str", "default": []},
        "fetched": {"type": "list", "elements": "str", "default": []},
    }
    run_module(act, options)


if __name__ == "__main__":
    main()
