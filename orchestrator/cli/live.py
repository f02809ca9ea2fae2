"""The panel that stays at the foot of a terminal while a change is watched: hosts, progress, time left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.cli.output import coloured, console
from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.run import HostRun, HostStatus
from orchestrator.wiring import Site

#: More hosts than this are counted instead of listed; those at work are always listed.
_LISTED = 16
_AT_WORK = frozenset(
    {
        HostStatus.LEASED,
        HostStatus.CHECKED,
        HostStatus.PROTECTED,
        HostStatus.PATCHING,
        HostStatus.REBOOTING,
        HostStatus.VERIFYING,
        HostStatus.RESTORING,
    }
)


@contextmanager
def panel() -> Iterator[Live | None]:
    """Open the panel on a terminal; elsewhere there is none, and lines alone have to do."""
    if not console.is_terminal or console.stderr:
        yield None
        return
    with Live(console=console, transient=True, refresh_per_second=4) as shown:
        yield shown


def render(site: Site, change: ChangeRequest, doing: str) -> RenderableType:
    """Return what the panel shows now."""
    runs = site.ledger.store.runs(change.id)
    head = Text.assemble((change.id, "bold"), " ", coloured(change.state), "  ", _time_left(site, change))
    foot = Text(doing, style="dim", overflow="ellipsis", no_wrap=True)
    if not runs:
        return Group(Text(), head, foot)
    table = Table(box=None, pad_edge=False, show_header=False)
    for run in _worth_listing(runs):
        table.add_row(f"{run.wave}.{run.batch}", run.host, coloured(run.status), Text(run.reason, overflow="ellipsis"))
    settled = sum(run.status.is_settled for run in runs)
    return Group(Text(), head, table, Text(f"{settled} of {len(runs)} hosts are settled"), foot)


def _worth_listing(runs: Sequence[HostRun]) -> Sequence[HostRun]:
    if len(runs) <= _LISTED:
        return runs
    return [run for run in runs if run.status in _AT_WORK][:_LISTED]


def _time_left(site: Site, change: ChangeRequest) -> str:
    if change.slot is None:
        return ""
    left = int((change.slot.cutoff - site.clock.now()).total_seconds())
    if left < 0:
        return f"past the cutoff; the window ends at {change.slot.end:%H:%MZ}"
    return f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} before the cutoff"
