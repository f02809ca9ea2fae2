"""CHG 1: the monthly security patch, from request to close."""

from demo import changes
from demo.hosts import has_pending_updates
from demo.site import REQUESTER
from demo.stage import Stage


def carry(stage: Stage) -> str:
    """Carry the change through. Return its number."""
    tell = stage.terminal.tell
    if not has_pending_updates(stage):
        tell("None today: so the lab publishes a security update of its own, which stands in for them.")
        stage.lab("repo", "publish", "labapp", "1.0.1", "--security")
    tell("Rae asks for this month's security updates, canary first. The template says everything else.")
    parameters = {"production": "web", "window_start": "now", "canary": 1, "wave": "100%", "soak": "5s"}
    change = changes.submit(stage, "security", "linux-security-patch", dict(parameters))
    changes.prove(stage, change)
    tell("The plan: which host gets what, from which version to which, in which order. Votes are for its digest.")
    digest = changes.read_plan(stage, change)
    tell("Rae is an approver as well. But this is her own request:")
    changes.approve(stage, change, digest, "I know what I asked for", by=REQUESTER)
    stage.terminal.good("refused, as it has to be, and the attempt is on record")
    tell("A second person approves.")
    changes.approve(stage, change, digest, "Read the plan; staging has proved it")
    tell("Its window is open now. Nothing starts that would not be done, rollback included, before it ends.")
    changes.schedule(stage, change)
    tell("One canary, a short soak, then the others. Before a host is touched its old packages are secured.")
    changes.start(stage, change, becomes="succeeded")
    tell("All hosts are verified: the versions of the plan, in effect, everything that ran still runs. Close it.")
    words = ("orchestrator", "change", "close", change, "--note", "As planned", "--yes")
    stage.shell.run(*words)
    stage.outcomes.append(f"{change} is closed, successful: patched, verified, evidence kept")
    return change
