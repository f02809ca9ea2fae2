"""The last part: what is on record, and whether somebody else can check it."""

from demo.errors import DemoError
from demo.forging import flip
from demo.places import shown
from demo.shell import Excerpt
from demo.stage import Stage


def show(stage: Stage, numbers: list[str]) -> None:
    """Show the trails, verify the bundles with the key that was pinned on the first day, and forge one."""
    tell, shell, places = stage.terminal.tell, stage.shell, stage.places
    for change in numbers:
        tell(f"Everything that happened to {change}, each line chained to the one before by its hash.")
        shell.run("orchestrator", "audit", "trail", change, show=Excerpt(head=60, tail=12))
    tell("One bundle for each change: request, plan, votes, journal, versions before and after, health, trail.")
    for change in numbers:
        shell.run("orchestrator", "audit", "export", change, "--to", places.bundles, show=Excerpt(head=1))
    tell("The auditor needs no site and no database to check them, only the key that was pinned.")
    for change in numbers:
        bundle = places.bundles / f"{change}.tar.gz"
        verified = shell.run("orchestrator", "audit", "verify", bundle, "--key", places.pinned_key)
        verified.find(r"(verified), signed by sha256:")
    _forge(stage, numbers[-1])


def _forge(stage: Stage, change: str) -> None:
    places = stage.places
    bundle, forged = places.bundles / f"{change}.tar.gz", places.bundles / f"{change}-forged.tar.gz"
    stage.terminal.tell("And if somebody touches one, even a single byte in the middle of it?")
    at, byte = flip(bundle.read_bytes(), bundle.stat().st_size // 2)
    stage.shell.run("cp", bundle, forged)
    stage.shell.script(f"printf '\\x{byte:02x}' | dd of={shown(forged)} bs=1 seek={at} conv=notrunc status=none")
    refused = stage.shell.run("orchestrator", "audit", "verify", forged, "--key", places.pinned_key, expect=(8,))
    if any(": verified" in line for line in refused.lines):
        raise DemoError(f"{shown(forged)} was changed and passes for intact.")
    stage.terminal.good("refused")
