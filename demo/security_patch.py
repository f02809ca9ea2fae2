"""CHG 1: the monthly security patch, from request to close."""

from demo import changes
from demo.hosts import has_pending_updates
from demo.stage import STAGING, Stage


def carry(stage: Stage) -> str:
    """Carry the change through. Return its number."""
    tell = stage.terminal.tell
    if not has_pending_updates(stage):
        tell("None today: so the lab publishes a security update of its own, which stands in for them.")
        stage.lab("repo", "publish", "labapp", "1.0.1", "--security")
    tell("Rae asks for this month's security updates, canary first. The template says everything else.")
    change = changes.submit(stage, "security", "linux-security-patch", _parameters())
    how = "One canary, a short soak, then the others. Before a host is touched its old packages are secured."
    return changes.carry_through(stage, change, how)


def _parameters() -> dict[str, object]:
    # One host proves it for its platform; two would take longer, on a machine that is all of the hosts.
    staging = STAGING[0]
    return {
        "production": "web",
        "staging": staging,
        "window_start": "now",
        "canary": 1,
        "wave": "100%",
        "soak": "5s",
    }
