"""What a fault in the middle of a patch comes to: the cases that the tests play, and the page drawn from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

DONE, FAILED, UNKNOWN = "DONE", "FAILED", "UNKNOWN"


@dataclass(frozen=True, kw_only=True)
class FaultCase:
    """A fault that begins after `protect`, before `patch`.

    `told` is what the patch phase comes to on the host while the fault lasts. Where that is `unreachable` the fault is
    lifted, and `settled` is what the host's journal and updates then say of the step. `ends` is the state in which the
    host ends; `installs` is how often its update was begun to be installed in all.
    """

    fault: dict[str, Any]
    told: str
    settled: str = ""
    ends: str = DONE
    installs: int = 1
    says: str = ""
    because: str = ""
    job: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return str(self.fault["kind"])


START = r"^win_updates start"
#: By name of the host in the tests.
FAULTS: dict[str, FaultCase] = {
    "polling": FaultCase(
        fault={"kind": "reset-while-polling", "times": 1}, told="ok",
        because="Ansible says *failed, nothing found*; the host is waited for, looked at, and has installed everything",
    ),
    "mid": FaultCase(
        fault={"kind": "reset-mid", "match": START, "times": 1}, told="ok",
        because="the task was begun and nobody was told of it; it is waited for",
    ),
    "start": FaultCase(
        fault={"kind": "reset-at-start", "match": START, "times": 1}, told="ok",
        because="nothing is at work on the host and nothing was installed: the round is done again",
    ),
    "journal": FaultCase(
        fault={"kind": "reset-mid", "match": "patch_windows/record.ps1", "times": 1}, told="ok",
        because="the host's journal is read again: the record is there, and is not written twice",
    ),
    "cut": FaultCase(
        fault={"kind": "cut-off", "match": "win_powershell", "times": 1}, told="ok",
        because="half an answer is no answer; looking again does no harm",
    ),
    "cut-update": FaultCase(
        fault={"kind": "cut-off", "match": "win_updates", "times": 1}, told="ok",
        because="as for a connection that was reset",
    ),
    "slow": FaultCase(
        fault={"kind": "slow", "seconds": 0.1}, told="ok", because="nothing but time is lost",
    ),
    "hang": FaultCase(
        fault={"kind": "hang", "match": START, "times": 1}, told="unreachable", settled="partly-done", ends=FAILED,
        installs=0, says="did not end in its time", job={"timeout": 4, "reboot_timeout": 1},
        because="the task's time limit ends the waiting; the step stays open in the host's journal, and is put back",
    ),
    "frozen": FaultCase(
        fault={"kind": "silent"}, told="unreachable", settled="not-begun",
        because="nothing was begun; patched once the host answers again",
    ),
    "busy": FaultCase(
        fault={"kind": "http-status", "status": 503}, told="unreachable", settled="not-begun", says="503",
        because="nothing was begun; patched once the host answers again",
    ),
    "locked": FaultCase(
        fault={"kind": "refuse-auth"}, told="unreachable", settled="not-begun",
        because="one attempt and no more, so that no account gets locked out; patched once the login works",
    ),
    "expired": FaultCase(
        fault={"kind": "expired-certificate"}, told="unreachable", settled="not-begun", says="certificate",
        because="nothing was begun; patched once the certificate is good",
    ),
    "offline": FaultCase(
        fault={"kind": "no-update-server"}, told="failed", ends=FAILED, installs=0, says="0x8024402C",
        because="the search failed before anything was begun, and the host's journal says so",
    ),
    "lost": FaultCase(
        fault={"kind": "never-back"}, told="unreachable", settled="done", says="not come back",
        job={"reboot": "always", "reboot_timeout": 5},
        because="UNKNOWN until somebody powers it on; then installed, and nothing is left to do",
    ),
}  # fmt: skip


def page() -> str:
    """Return docs/windows-faults.md."""
    lines = [
        "# What a fault in the middle of a patch comes to (Windows)",
        "",
        "Drawn by `script/draw-windows-faults` from the cases that `tests/integration/test_windows_playbooks.py`",
        "plays with both connection plugins: the fault begins after `protect` and before `patch`. The hosts are the",
        "lab's, whose inside is simulated ([lab/README.md](../lab/README.md#windows-hosts)); Ansible and the protocol",
        "are real.",
        "",
        "*Told* is what `patch.yml` says of the host. Where that is *unreachable*, the fault is lifted, `verify.yml`",
        "asks the host, and *settled* is what its journal and its updates say of the step. Each update was begun to be",
        "installed as often as the last column says, in all.",
        "",
        "| fault | where it strikes | told | settled | the host ends | why | installed |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case in FAULTS.values():
        where = f"`{case.fault['match']}`" if case.fault.get("match") else "everywhere"
        lines.append(
            f"| `{case.kind}` | {where} | {case.told} | {case.settled or '-'} | {case.ends} | {case.because}"
            f" | {case.installs} |"
        )
    return "\n".join([*lines, ""])
