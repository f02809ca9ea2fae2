"""The Windows-only story: the monthly round, from request to close, where no Linux host can be booted."""

from demo import changes
from demo.stage import Stage
from demo.windows_hosts import GROUP


def carry(stage: Stage) -> str:
    """Carry the change through. Return its number."""
    tell = stage.terminal.tell
    tell("Rae asks for this month's updates, canary first. The template says everything else.")
    parameters = {"production": GROUP, "window_start": "now", "canary": 1, "wave": "100%", "soak": "5s"}
    change = changes.submit(stage, "windows", "windows-monthly-cumulative", dict(parameters))
    return changes.carry_through(stage, change, "One canary, a short soak, then the others, each with its reboot.")
