#!/usr/bin/python
"""Ansible module: let a host go after its change."""

DOCUMENTATION = r"""
module: patch_release
short_description: Drop a change's rollback point and end its claim
description:
  - Removes the point, unless C(job.keep_point) keeps it. Where the change still holds the host, the new files
    are removed, too, rival updaters are given back as they stood, and the claim ends. Doing it again changes nothing.
extends_documentation_fragment: patch_job
author: Patch Orchestrator
"""

EXAMPLES = r"""
- name: Let the host go
  patch_release:
    job: "{{ patch_job }}"
"""

RETURN = r"""
report:
  description: The C(released) report of docs/playbook-interface.md.
  type: dict
  returned: always
"""

import os
import shutil

from ansible.module_utils.patch_host.entry import guarded, run_module
from ansible.module_utils.patch_host.files import size_of
from ansible.module_utils.patch_host.rivals import Rivals

_STEP = "release"


def act(host):
    claimed = host.journal.claim().get("change") == host.job.change
    if not claimed and (host.job.keep_point or not os.path.isdir(host.point.folder)):
        host.journal.check(host.job.token, host.job.change, _STEP)
        return {"changed": False, "report": _report([], 0)}
    host.begin(_STEP)
    return guarded(host, _STEP, lambda: _release(host, claimed))


def _release(host, claimed):
    freed, rivals = 0 if host.job.keep_point else host.point.drop(), []
    if claimed:
        freed += size_of(host.files.folder)
        shutil.rmtree(host.files.folder, ignore_errors=True)
        # The claim goes first: held services may start only while there is none.
        host.journal.release_claim(host.job.change)
        rivals = Rivals(host.family.shell, host.family.rival_units).give_back()
    host.end(_STEP, "ok")
    host.journal.note(host.job.token, host.job.change, _STEP, "released")
    return {"changed": True, "report": _report(rivals, freed)}


def _report(rivals, freed):
    return {"kind": "released", "rivals": rivals, "freed": freed}


def main():
    run_module(act)


if __name__ == "__main__":
    main()
