#!/usr/bin/python
"""Ansible module: claim a host and secure its old and its new packages."""

DOCUMENTATION = r"""
module: patch_protect
short_description: Claim a host, hold rival updaters, secure the old and the new packages
description:
  - V(secured) begins the step C(protect), claims the host, holds what updates packages by itself, looks at the host,
    takes the rollback point and fetches the new files. Where repositories gave all of them, that is all.
  - Otherwise the caller pushes the files that no repository gave, and V(finished) is a second call with the same job.
  - The end is a check that all new files are there and that they would install exactly the lock.
options:
  state:
    description: Which of the two is wanted.
    type: str
    choices: [secured, finished]
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
- name: Claim the host and secure the old and the new packages
  patch_protect:
    job: "{{ patch_job }}"
    state: secured
"""

RETURN = r"""
results:
  description: The C(state), C(point) and C(packages) reports of docs/playbook-interface.md, each as C(report).
  type: list
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

from ansible.module_utils.patch_host.entry import guarded, run_module
from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_host.lock import split_items
from ansible.module_utils.patch_host.rivals import Rivals
from ansible.module_utils.patch_host.state import collect_state
from ansible.module_utils.patch_host.transaction import prepare_patch, require_health

_STEP = "protect"


def act(host):
    if host.options["state"] == "secured":
        host.begin(_STEP)
        return guarded(host, _STEP, lambda: _secure(host))
    host.journal.check(host.job.token, host.job.change, _STEP)
    fetched, pushed = set(host.options["fetched"]), set(host.options["pushed"])
    return guarded(host, _STEP, lambda: _finish(host, fetched, pushed))


def _secure(host):
    changed = _claim(host)
    family = host.family
    installed = family.installed()
    upgrades, available = split_items(host.job.items, installed, family.compare)
    _require_space(host, upgrades + available)
    names = {item.name: item for item in upgrades}
    old = [package for package in installed if package.name in names and _is_meant(package, names[package.name])]
    point, taken = host.point.take(family, old)
    host.tell(point, taken)
    sources = host.files.fetch(family, upgrades + available)
    fetched = sorted("%s:%s" % key for key, source in sources.items() if source == "repository")
    missing = [item for item in upgrades + available if (item.name, item.arch) not in sources]
    files = [{"filename": item.filename, "sha256": item.sha256, "path": host.files.path(item)} for item in missing]
    finished = {} if missing else _finish(host, set(fetched), set())
    return dict(finished, changed=bool(changed or taken or fetched), fetched=fetched, missing=files)


def _claim(host):
    """Hold rival updaters, and look at the host before it is touched. Return whether that changed anything."""
    _, changed = Rivals(host.family.shell, host.family.rival_units).hold()
    report = collect_state("before", host.job, host.family, host.journal)
    host.tell(report, changed)
    if report["manager"]["problems"] and not host.point.planned():
        require_health(host.family)
    return changed


def _finish(host, fetched, pushed):
    family = host.family
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
        "state": {"type": "str", "required": True, "choices": ["secured", "finished"]},
        "pushed": {"type": "list", "elements": "str", "default": []},
        "fetched": {"type": "list", "elements": "str", "default": []},
    }
    run_module(act, options)


if __name__ == "__main__":
    main()
