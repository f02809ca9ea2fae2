"""CHG 1: the monthly security patch, from request to close."""

from fnmatch import fnmatch

from demo import changes
from demo.hosts import pending_updates
from demo.stage import Stage

#: Left out, so that the demo stays short: no other package of a month on Debian takes as long.
_LATER = ("perl*", "libperl*")


def carry(stage: Stage) -> str:
    """Carry the change through. Return its number."""
    tell = stage.terminal.tell
    pending = pending_updates(stage)
    if not pending:
        tell("None today: so the lab publishes a security update of its own, which stands in for them.")
        stage.lab("repo", "publish", "labapp", "1.0.1", "--security")
    parameters: dict[str, object] = {
        "production": "web", "window_start": "now", "canary": 1, "wave": "100%", "soak": "5s",
    }  # fmt: skip
    if all(any(fnmatch(name, pattern) for pattern in _LATER) for name in pending):
        tell("Rae asks for this month's security updates, canary first. The template says everything else.")
    else:
        tell(
            "Rae asks for this month's security updates, canary first; Perl is left to a night of its own, which the",
            "plan will not forget. The template says everything else.",
        )
        parameters["exclude"] = [*_LATER]
    change = changes.submit(stage, "security", "linux-security-patch", parameters)
    how = "One canary, a short soak, then the others. Before a host is touched its old packages are secured."
    return changes.carry_through(stage, change, how)
