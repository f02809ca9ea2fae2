#!/usr/bin/python
"""Ansible module: the host's own journal of changes."""

DOCUMENTATION = r"""
module: patch_journal
short_description: Write and read the host's journal of changes
description:
  - Writes down that a step of a change begins or ends, fsynced before the module returns, and refuses a step that
    another orchestrator, or a newer run of the same one, does not allow.
options:
  state:
    description:
      - V(begin) checks the fencing token and writes that the step begins. V(end) writes how it ended.
      - V(restored) writes that a snapshot of the whole host was put back, which took back the journal, too.
      - V(adopt) takes the host over from another installation. V(read) only reads.
    type: str
    choices: [begin, end, restored, adopt, read]
    required: true
  step:
    description: The step that begins or ends.
    type: str
    choices: [protect, patch, reboot, restore, release]
  outcome:
    description: How the step ended.
    type: str
    choices: [ok, failed]
    default: ok
  detail:
    description: What a reader of the journal should know; for V(adopt) the reason.
    type: str
    default: ""
extends_documentation_fragment: patch_job
author: Patch Orchestrator
"""

EXAMPLES = r"""
- name: Take the host over from another installation
  patch_journal:
    job: "{{ patch_job }}"
    state: adopt
    detail: The old controller is gone
"""

RETURN = r"""
records:
  description: The last 200 records.
  type: list
  returned: state is read
length:
  description: How many records the journal has.
  type: int
  returned: always
claim:
  description: Who holds the host.
  type: dict
  returned: always
report:
  description: The C(adopted) report of docs/playbook-interface.md.
  type: dict
  returned: state is adopt
"""

from ansible.module_utils.patch_host.entry import run_module
from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_host.journal import STEPS


def act(host):
    state, step, job, journal = host.options["state"], host.options["step"], host.job, host.journal
    if state in ("begin", "end") and not step:
        raise PatchError("patch_journal was asked to write %s, but of no step. Give `step`." % state)
    changed = not host.check_mode and state != "read"
    if changed and state == "begin":
        host.begin(step)
    elif changed and state == "end":
        host.end(step, host.options["outcome"], host.options["detail"])
    elif changed and state == "restored":
        journal.note(job.token, job.change, "restore", "restored", host.options["detail"])
    elif changed and state == "adopt":
        taken = journal.adopt(job.token, job.change, host.options["detail"])
        return dict(_result(journal, bool(taken)), report={"kind": "adopted", "changes": taken})
    result = _result(journal, changed)
    return dict(result, records=journal.records()[-200:]) if state == "read" else result


def _result(journal, changed):
    return {"changed": changed, "length": len(journal.records()), "claim": journal.claim()}


def main():
    options = {
        "state": {"type": "str", "required": True, "choices": ["begin", "end", "restored", "adopt", "read"]},
        "step": {"type": "str", "choices": list(STEPS)},
        "outcome": {"type": "str", "choices": ["ok", "failed"], "default": "ok"},
        "detail": {"type": "str", "default": ""},
    }
    run_module(act, options, supports_check_mode=True, needs_family=False)


if __name__ == "__main__":
    main()
