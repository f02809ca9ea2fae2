#!/usr/bin/python
"""Ansible module: install exactly the lock, or put the old packages back."""

DOCUMENTATION = r"""
module: patch_transaction
short_description: Install exactly the lock, or put back what the rollback point says
description:
  - The step is written to the host's journal before it begins and when it has ended. The transaction is predicted
    first and refused where it would be anything else than the lock, or than the point.
  - The package manager runs in a process of its own that outlives the connection and is never killed. One that
    takes longer than C(job.timeout) is reported as failed and goes on.
  - Services that still use replaced files are restarted afterwards, and it is decided whether a reboot is needed.
    Where it is not, the host is looked at, and nothing is left to do.
options:
  state:
    description: V(patched) installs the lock, V(restored) puts the old packages back.
    type: str
    choices: [patched, restored]
    required: true
extends_documentation_fragment: patch_job
author: Patch Orchestrator
"""

EXAMPLES = r"""
- name: Install the lock
  patch_transaction:
    job: "{{ patch_job }}"
    state: patched
"""

RETURN = r"""
results:
  description:
    - The C(transaction) report of docs/playbook-interface.md, as C(report), and where no reboot is needed the
      C(reboot) and the C(state) report.
  type: list
  returned: always
reboot:
  description: The C(reboot) report, with C(needed) as decided and C(done) false.
  type: dict
  returned: success
"""

from ansible.module_utils.patch_host.boot import boot_default
from ansible.module_utils.patch_host.detached import carry_out
from ansible.module_utils.patch_host.entry import guarded, run_module
from ansible.module_utils.patch_host.files import make_folder
from ansible.module_utils.patch_host.reboot import in_container
from ansible.module_utils.patch_host.rivals import Rivals
from ansible.module_utils.patch_host.state import boot_id, tell_state_after
from ansible.module_utils.patch_host.transaction import patch, prepare_patch, restore, settle, transaction_report

_STEPS = {"patched": "patch", "restored": "restore"}


def act(host):
    step = _STEPS[host.options["state"]]
    if host.check_mode:
        return _tell(host, _predict(host, step))
    if step == "restore":
        host.point.before()  # without a point nothing is begun
    host.begin(step)
    make_folder(host.point.folder)
    shell = host.family.shell
    if step == "restore":
        # The claim may have ended before, and with it the hold.
        guarded(host, step, Rivals(shell, host.family.rival_units).hold)
    return _tell(host, carry_out(lambda: _transact(host, step), host.job.timeout, shell, host.point.log))


def _tell(host, done):
    """Tell what was done, and how the host is afterwards, unless it has to reboot first. Return the result."""
    host.tell(done["report"], done["changed"])
    if not done["reboot"]["needed"]:
        host.tell(done["reboot"])
        tell_state_after(host)
    return {"changed": done["changed"], "reboot": done["reboot"]}


def _transact(host, step):
    """Everything from here to the journal's end happens even if nobody listens any more."""
    report = guarded(host, step, lambda: _patch(host) if step == "patch" else restore(host.family, host.point))
    host.end(step, "ok")
    if step == "restore":
        host.journal.note(host.job.token, host.job.change, step, "restored")
    changed = bool(report["actual"])
    expected = _arrange_boot(host, step, changed)
    reasons = settle(host.job, host.family, report, expected)
    return {
        "changed": bool(changed or report["restarted"]),
        "report": report,
        "reboot": _reboot(_is_needed(host, step, changed, reasons), reasons),
    }


def _reboot(needed, reasons):
    return {
        "kind": "reboot",
        "needed": needed,
        "done": False,
        "reasons": reasons,
        "boot_id_before": boot_id(),
        "boot_id_after": boot_id(),
        "seconds": 0,
    }


def _patch(host):
    return patch(host.job, host.family, host.files, host.point)


def _arrange_boot(host, step, changed):
    """Have GRUB boot a new kernel once, or the old one again. Return the kernel that is to run; "" = the newest."""
    grub, newest = boot_default(host.family.shell), host.family.newest_kernel()
    if in_container() or not newest:
        return ""
    if step == "patch":
        if changed and grub.keeps_default():
            grub.boot_once(newest)
        return ""
    old = host.point.before().get("kernel", "")
    if old and old != newest and not grub.keep(old):
        grub.boot_once(old)
    return old


def _is_needed(host, step, changed, reasons):
    if host.job.reboot == "never":
        return False
    if host.job.reboot == "if-required":
        return bool(reasons)
    return changed or not _has_rebooted(host, step)


def _has_rebooted(host, step):
    """Whether the change has rebooted the host since this step was first begun: once is enough for `always`."""
    seen = False
    for record in host.journal.records():
        if record["change"] != host.job.change:
            continue
        if record["event"] == "begin" and record["step"] in ("patch", "restore") and record["step"] != step:
            seen = False
        if (record["step"], record["event"], record["outcome"]) == ("reboot", "end", "ok"):
            seen = True
    return seen


def _predict(host, step):
    """Say in check mode what would be done."""
    if step == "patch":
        report = transaction_report(prepare_patch(host.job, host.family, host.files)[2], [])
    else:
        back, remove = host.point.work(host.family.installed(), host.family.is_kernel)
        simulation = host.family.simulate_restore(back, remove, host.point.folder)
        report = transaction_report(simulation.transitions, [])
    return {"changed": bool(report["predicted"]), "report": report, "reboot": _reboot(False, [])}


def main():
    options = {"state": {"type": "str", "required": True, "choices": ["patched", "restored"]}}
    run_module(act, options, supports_check_mode=True)


if __name__ == "__main__":
    main()
