"""CHG 3: one service on Windows and Linux, and a Windows host that never comes back from its reboot."""

import re
from collections.abc import Sequence

from demo import changes
from demo.errors import DemoError
from demo.stage import LOST, PRODUCTION, STAGING, WINDOWS_PRODUCTION, Stage
from demo.windows_hosts import GROUP, doom_one, updates_begun

#: What the web hosts get, beside the service that they run.
PACKAGE = "labtool"
_FIRST, *_LATER = (host for host in WINDOWS_PRODUCTION if host != LOST)
_UNTOUCHED = (*_LATER, *PRODUCTION)


def begin(stage: Stage) -> None:
    """Enter the change and have it proved in the background: that may be while another one runs."""
    tell = stage.terminal.tell
    tell("Both tiers of the shop get a security update: Windows its cumulative one, the web hosts a new labtool.")
    stage.lab("repo", "publish", PACKAGE, "1.1", "--security")
    doom_one(stage)
    tell(
        "Rae asks for both in one change, the application tier before the web tier; no failure is allowed. The proof",
        "goes on in the background: a site carries several changes at once, as long as they need no host together.",
    )
    stage.ahead = changes.submit(stage, "shop", "mixed-service-patch", _parameters())
    changes.prove_in_background(stage, stage.ahead)


def carry(stage: Stage) -> str:
    """Carry the change through to where its budget trips. Return its number."""
    tell = stage.terminal.tell
    if not stage.ahead:
        begin(stage)
    change = stage.ahead
    tell("How far is the proof that was begun in the background?")
    changes.watch_proof(stage, change)
    tell("Windows or Linux: one plan, one digest, one vote.")
    digest = changes.read_plan(stage, change)
    changes.approve(stage, change, digest, "Read the plan; staging has proved it")
    changes.schedule(stage, change)
    tell(
        f"The canary {_FIRST} will be fine. Then {LOST} reboots and stays away: nobody knows what became of it,",
        "and nobody guesses. Unknown counts as failed: that is the end of the budget, and of the change.",
    )
    changes.start(stage, change, becomes="failed")
    _hold_against_record(stage, change)
    stage.outcomes.append(f"{change} has stopped: {LOST} never came back, {_named(_UNTOUCHED)} were not touched")
    return change


def _parameters() -> dict[str, object]:
    return {
        "production": "shop",
        "staging": f"{GROUP}:{STAGING[0]}",
        "tiers": [GROUP, "web"],
        "window_start": "now",
        "wave": "50%",
        "soak": "0s",
    }


def _hold_against_record(stage: Stage, change: str) -> None:
    """Show the record, and ask the hosts themselves."""
    tell, shell = stage.terminal.tell, stage.shell
    tell(f"What does the record say? {LOST} by name, with what is known of it, and who was never reached.")
    shown = shell.run("orchestrator", "change", "show", change)
    rows = [match.groups() for line in shown.lines if (match := re.match(r"(\w+) +\d+\.\d+ +([a-z-]+)", line))]
    shell.run("orchestrator", "status")
    tell("And the hosts, asked past Ansible and the orchestrator?")
    names = " ".join(PRODUCTION)
    old = shell.script(f"for host in {names}; do {stage.lab_typed} run $host dpkg-query -W {PACKAGE}; done")
    begun = {host for host in WINDOWS_PRODUCTION if updates_begun(stage, host)}
    untouched = {host for host, status in rows if status == "pending"}
    if untouched != set(_UNTOUCHED) or begun & untouched or set(old.lines) != {f"{PACKAGE}\t1.0"}:
        raise DemoError(f"{_named(_UNTOUCHED)} were to be untouched; the record and the hosts above say otherwise.")
    stage.terminal.good(f"nothing was begun on {_named(_UNTOUCHED)}")
    tell(
        f"{LOST} waits for a person. Once it is switched on (python -m lab --instance {stage.places.instance} windows",
        f"power-on {LOST}), it can be asked what became of it: orchestrator host reconcile {change} {LOST}",
    )


def _named(hosts: Sequence[str]) -> str:
    return ", ".join(hosts)
