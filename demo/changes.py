"""The steps that every change walks through, as typed commands."""

import yaml

from demo.errors import DemoError
from demo.places import shown
from demo.shell import Done
from demo.site import APPROVER, REQUESTER
from demo.stage import Stage


def submit(stage: Stage, name: str, template: str, parameters: dict[str, object]) -> str:
    """Write a request and enter it, signed by the requester. Return the change's number."""
    file = stage.places.requests / f"{name}.yml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump({"template": template, "parameters": parameters}, sort_keys=False))
    stage.shell.run("cat", file)
    submitted = stage.shell.run("orchestrator", "change", "submit", file, "--key", stage.places.keys / REQUESTER)
    return submitted.find(r"^(CHG-\d+) is requested")


def carry_through(stage: Stage, change: str, how: str) -> str:
    """Take a change that goes well from its request to its close. Return its number."""
    tell = stage.terminal.tell
    prove(stage, change)
    tell("The plan: which host gets what, from which version to which, in which order. Votes are for its digest.")
    digest = read_plan(stage, change)
    tell("Rae is an approver as well. But this is her own request:")
    approve(stage, change, digest, "I know what I asked for", by=REQUESTER)
    stage.terminal.good("refused, as it has to be, and the attempt is on record")
    tell("A second person approves.")
    approve(stage, change, digest, "Read the plan; staging has proved it")
    tell("Its window is open now. Nothing starts that would not be done, rollback included, before it ends.")
    schedule(stage, change)
    tell(how)
    start(stage, change, becomes="succeeded")
    tell("All hosts are verified: the versions of the plan, in effect, everything that ran still runs. Close it.")
    closed = stage.shell.run("orchestrator", "change", "close", change, "--note", "As planned", "--yes")
    code = closed.find(rf"^{change} is closed: (.+)\.$")
    stage.outcomes.append(f"{change} is closed, {code}: patched, verified, evidence kept")
    return change


def prove(stage: Stage, change: str) -> None:
    """Prove the change on the staging hosts."""
    stage.terminal.tell(
        "Staging comes first: apply, verify, put back, verify that the old state is back, apply again, verify.",
        "Only what has passed all of that can be approved; its checksums are what production gets.",
    )
    _expect_state(stage.shell.run("orchestrator", "change", "stage", change, "--yes"), change, "staged")


def prove_in_background(stage: Stage, change: str) -> None:
    """Have the change proved on the staging hosts, and go on with something else."""
    stage.shell.run("orchestrator", "change", "stage", change, "--yes", "--detach")


def watch_proof(stage: Stage, change: str) -> None:
    """Follow the proof of a change to its end."""
    _expect_state(stage.shell.run("orchestrator", "change", "watch", change), change, "staged")


def read_plan(stage: Stage, change: str) -> str:
    """Show the plan. Return its digest, as far as people type it."""
    shown_plan = stage.shell.run("orchestrator", "change", "plan", change)
    return shown_plan.find(r"^plan\s+([0-9a-f]{64})")[:12]


def approve(stage: Stage, change: str, digest: str, reason: str, *, by: str = APPROVER) -> Done:
    """Vote for the plan; a vote of the requester is refused, and that is expected."""
    words = ("orchestrator", "change", "approve", change, "--plan", digest, "--reason", reason)
    return stage.shell.run(*words, "--key", stage.places.keys / by, expect=(4, 5) if by == REQUESTER else (0,))


def schedule(stage: Stage, change: str) -> None:
    """Give the change its window."""
    _expect_state(stage.shell.run("orchestrator", "change", "schedule", change, "--yes"), change, "scheduled")


def start(stage: Stage, change: str, *, becomes: str) -> Done:
    """Run the change, and hold it against the state in which it has to end."""
    good = becomes == "succeeded"
    done = stage.shell.run("orchestrator", "change", "start", change, "--yes", expect=(0,) if good else (10,))
    _expect_state(done, change, becomes)
    return done


def next_commands(stage: Stage, change: str) -> str:
    """Return how to look at the change oneself."""
    return f"ORCHESTRATOR_SITE={shown(stage.places.site)} .venv/bin/orchestrator change show {change}"


def _expect_state(done: Done, change: str, state: str) -> None:
    found = done.find(rf"^{change} is ([a-z-]+)\.?$")
    if found != state:
        raise DemoError(f"{change} was to be {state}, and is {found}; see above.")
