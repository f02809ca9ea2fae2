"""The Windows hosts: simulated, and said to be."""

from demo.places import TOP
from demo.stage import LOST, WINDOWS_PRODUCTION, WINDOWS_STAGING, Stage

GROUP = "app"
_SCENARIO = TOP / "demo" / "windows-hosts.yml"


def build(stage: Stage) -> None:
    """Make the Windows hosts, two for staging and three for production."""
    stage.terminal.tell(
        "Two staging hosts and three production hosts with Windows, simulated: WinRM and Ansible are real, the inside",
        "of a host is a model that answers only what it knows, and no PowerShell runs (lab/README.md says more).",
    )
    if not stage.has_linux:
        keep_in_folder(stage)
    names = (*WINDOWS_STAGING, *WINDOWS_PRODUCTION)
    words = ("python", "-m", "lab", "--instance", stage.places.instance, "windows", "up", *names)
    stage.shell.run(*words, "--scenario", _SCENARIO, "--group", GROUP)


def keep_in_folder(stage: Stage) -> None:
    """Keep the lab in the demo's own folder, where this account may have no other."""
    stage.shell.export("PATCH_LAB_ROOT", stage.places.lab)


def doom_one(stage: Stage) -> None:
    """Let one production host be lost with its next reboot."""
    stage.terminal.tell(f"{LOST} has a fault that no look can find: it will not come back from its next reboot.")
    stage.lab("windows", "fault", LOST, "never-back")


def updates_begun(stage: Stage, host: str) -> int:
    """Return how many updates the host has begun to install, by what was done to it and not by what it says."""
    done = stage.lab("windows", "journal", host, "--only", "update-begun")
    return sum(" update-begun " in f"{line} " for line in done.lines)
