#!/usr/bin/python
"""Ansible module: look at a host."""

DOCUMENTATION = r"""
module: patch_state
short_description: Look at a host's packages, services, ports, boot and journal
description:
  - Reads only. The report also holds the host's journal, so that the outcome of an interrupted step can be settled.
options:
  when:
    description: How the report is labelled.
    type: str
    choices: [before, after, now]
    default: now
extends_documentation_fragment: patch_job
author: Patch Orchestrator
"""

EXAMPLES = r"""
- name: Look at the host
  patch_state:
    job: "{{ patch_job }}"
"""

RETURN = r"""
report:
  description: The C(state) report of docs/playbook-interface.md.
  type: dict
  returned: always
"""

from ansible.module_utils.patch_host.entry import run_module
from ansible.module_utils.patch_host.state import collect_state
from ansible.module_utils.patch_host.units import wait_until_settled


def act(host):
    if host.options["when"] == "after":
        # SSH answers long before the last service of a boot is up; looking earlier would call it gone.
        wait_until_settled(host.family.shell)
    report = collect_state(host.options["when"], host.job, host.family, host.journal)
    return {"changed": False, "report": report}


def main():
    options = {"when": {"type": "str", "choices": ["before", "after", "now"], "default": "now"}}
    run_module(act, options, supports_check_mode=True)


if __name__ == "__main__":
    main()
