"""orchestrator worker and serve: carry what is in line."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated

import typer

from orchestrator import logs
from orchestrator.cli.context import site_of
from orchestrator.cli.output import say
from orchestrator.engine.worker import LEASE, Manner
from orchestrator.errors import OrchestratorError
from orchestrator.flow.due import start_due
from orchestrator.wiring import Site

Zones = Annotated[
    list[str] | None,
    typer.Option(
        "--zone",
        metavar="NAME",
        help="Work on the hosts of this zone, and carry no changes; may be given more than once.",
    ),
]
Lease = Annotated[float, typer.Option("--lease", help="Seconds of silence after which a worker is taken for dead.")]
_LEASE = LEASE.total_seconds()
_LOG = logging.getLogger(__name__)


def add_to(app: typer.Typer) -> None:
    """Add the commands, which have no noun."""
    app.command("worker")(worker)
    app.command("serve")(serve)


def worker(
    context: typer.Context,
    zone: Zones = None,
    until_idle: Annotated[
        float | None, typer.Option("--until-idle", metavar="SECONDS", help="End after so long without work.")
    ] = None,
    lease: Lease = _LEASE,
) -> None:
    """Carry what is in line, until it is ended. What it leaves is found again by the next one."""
    manner = Manner(zones=tuple(zone or ()), until_idle=until_idle, lease=timedelta(seconds=lease))
    _work(site_of(context), manner, lambda: None)


def serve(context: typer.Context, lease: Lease = _LEASE) -> None:
    """Work for the site: start each scheduled change when its window opens, and carry what is in line."""
    site = site_of(context)
    _work(site, Manner(lease=timedelta(seconds=lease)), lambda: _nothing(start_due(site.crew, site.desk)))


def _work(site: Site, manner: Manner, tick: Callable[[], None]) -> None:
    try:
        # What nobody has typed for this worker is asked for now, or never.
        site.take_answers()
    except OrchestratorError as error:
        logs.begin(site.settings.log)
        _LOG.error("the worker does not begin: %s", error)
        raise typer.Exit(error.exit_code) from error
    logs.begin(site.settings.log, mask=site.mask())
    try:
        _work_until_the_end(site, manner, tick)
    except OrchestratorError as error:
        _LOG.error("the worker ends: %s", error)
        raise typer.Exit(error.exit_code) from error


def _work_until_the_end(site: Site, manner: Manner, tick: Callable[[], None]) -> None:
    with site.worker(manner) as one:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: one.stop())
        say(f"Working for {site.settings.name}: {manner.told(alone=site.has_one_worker)}. End it with Ctrl-C.")
        one.run(tick)
    # Threads that wait for supervised runs are not waited for: the runs go on, and are found again.
    logging.shutdown()
    os._exit(0)


def _nothing(_: object) -> None:
    return None
