#!/usr/bin/python
"""Ansible module: look at a host."""

DOCUMENTATION = r"""
module: patch_state
short_description: Look at a host's packages, services, ports, boot and journal
description:
  - Reads only. The report also holds the host's journal, so that the outcome of an interrupted step can be settled.
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


def act(host):
    return {"changed": False, "report": collect_state("now", host.job, host.family, host.journal)}


def main():
    run_module(act, supports_check_mode=True)


if __name__ == "__main__":
    main()
