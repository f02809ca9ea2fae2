"""CHG 2: an update that staging cannot know to be bad, and that is put back everywhere by itself."""

from demo import changes
from demo.errors import DemoError
from demo.observer import Observer
from demo.stage import DOOMED, PRODUCTION, STAGING, Stage


def carry(stage: Stage) -> str:
    """Carry the change through to where it is rolled back. Return its number."""
    tell = stage.terminal.tell
    tell("labapp 2.0 appears in the repository. It no longer supports legacy mode; nobody has read the notes.")
    stage.lab("repo", "publish", "labapp", "2.0", "--behaviour", "breaks-service")
    tell("Rae asks for it: no failure is allowed (max_failures 0), and if one happens, every host goes back (all).")
    change = changes.submit(stage, "labapp-2", "linux-package-update", _parameters())
    changes.prove(stage, change)
    stage.terminal.good(f"it passes: no staging host is set up like {DOOMED}")
    tell("Once more the plan, and the vote of a second person.")
    digest = changes.read_plan(stage, change)
    changes.approve(stage, change, digest, "Wanted by the shop, and staging has proved it")
    changes.schedule(stage, change)
    stage.meanwhile(stage)
    tell(
        f"The canary will be fine, and in the next wave {DOOMED} will not. The lines with ~ are a witness of the",
        "demo's own, who asks each production host's page twice a second.",
    )
    observer = Observer(stage.terminal, {host: stage.addresses[host] for host in PRODUCTION})
    before = observer.answers()
    with observer:
        changes.start(stage, change, becomes="rolled-back")
    _prove_recovery(stage, before, observer.answers())
    stage.outcomes.append(f"{change} is rolled back: {DOOMED} answered 500 for {observer.seconds_broken(DOOMED):.0f} s")
    return change


def _parameters() -> dict[str, object]:
    return {
        "production": "web",
        # The other staging host is left to the change that is proved while this one runs.
        "staging": STAGING[1],
        "packages": ["labapp"],
        "window_start": "now",
        "canary": 1,
        "wave": "100%",
        "soak": "0s",
        "max_failures": 0,
        "on_trip": "all",
        "health_url": "http://{address}:8080/health",
    }


def _prove_recovery(stage: Stage, before: dict[str, str], after: dict[str, str]) -> None:
    stage.terminal.tell("Which version is on the hosts now, and what does the service answer?")
    names = " ".join(PRODUCTION)
    stage.shell.script(f"for host in {names}; do {stage.lab_typed} run $host dpkg-query -W labapp; done")
    for host, answer in after.items():
        stage.terminal.line(f"http://{host}:8080/health  {answer}")
    wrong = [host for host in PRODUCTION if after[host] != before[host] or not after[host].startswith("200 ")]
    if wrong:
        raise DemoError(f"the service does not answer as before on {', '.join(wrong)}.")
    stage.terminal.good("every host answers as before the change, those that were healthy on 2.0 as well")
