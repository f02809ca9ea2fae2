#!/usr/bin/python
"""Ansible module: what is written down before and after a reboot."""

DOCUMENTATION = r"""
module: patch_reboot
short_description: Write a reboot into the host's journal, before and after
description:
  - V(begun) writes that the host is about to reboot. The reboot itself is the caller's, with M(ansible.builtin.reboot).
  - V(ended) proves by the boot id that the host has really booted anew, makes the kernel that runs the default where
    GRUB keeps one, writes the end, and looks at the host.
options:
  state:
    description: Before or after the reboot.
    type: str
    choices: [begun, ended]
    required: true
  decision:
    description: For V(ended), the C(reboot) report of the decision.
    type: dict
    default: {}
  seconds:
    description: For V(ended), how long the reboot took.
    type: int
    default: 0
extends_documentation_fragment: patch_job
author: Patch Orchestrator
"""

EXAMPLES = r"""
- name: Write down that the host reboots
  patch_reboot:
    job: "{{ patch_job }}"
    state: begun
"""

RETURN = r"""
results:
  description: The C(reboot) and the C(state) report of docs/playbook-interface.md, each as C(report).
  type: list
  returned: state is ended
"""

import os

from ansible.module_utils.patch_host.boot import boot_default
from ansible.module_utils.patch_host.entry import run_module
from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_host.reboot import in_container
from ansible.module_utils.patch_host.state import boot_id, tell_state_after


def act(host):
    if host.options["state"] == "begun":
        host.begin("reboot")
        return {"changed": True}
    decision, now = host.options["decision"], boot_id()
    report = dict(decision, kind="reboot", done=True, boot_id_after=now, seconds=host.options["seconds"])
    if now == decision.get("boot_id_before"):
        host.end("reboot", "failed", "the boot id is the same as before")
        raise PatchError(
            "The host was to reboot, but its boot id is the same as before: it did not. Look at its console.",
            dict(report, done=False),
        )
    grub, running = boot_default(host.family.shell), os.uname().release
    if not in_container() and running == host.family.newest_kernel():
        grub.keep(running)
    host.end("reboot", "ok")
    host.tell(report, changed=True)
    tell_state_after(host)
    return {"changed": True}


def main():
    options = {
        "state": {"type": "str", "required": True, "choices": ["begun", "ended"]},
        "decision": {"type": "dict", "default": {}},
        "seconds": {"type": "int", "default": 0},
    }
    run_module(act, options)


if __name__ == "__main__":
    main()
