"""orchestrator worker and serve: carry what is in line."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated

import typer

from orchestrator import logs
from orchestrator.cli.context import site_of
from orchestrator.cli.output import say
from orchestrator.engine.worker import LEASE, Manner
from orchestrator.errors import OrchestratorError
from orchestrator.flow.due import Scheduler
from orchestrator.flow.witnessing import Witness
from orchestrator.web.application import Application
from orchestrator.web.server import answer_beside
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
#: Seconds without a look after which something hangs: reading content and inventories takes some.
_HANGS = 300.0
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
    _work(site_of(context), manner)


def serve(context: typer.Context, lease: Lease = _LEASE) -> None:
    """Work for the site: start changes when their window opens, carry them, sign the trail hourly, answer over HTTP."""
    _work(site_of(context), Manner(lease=timedelta(seconds=lease)), serves=True)


class _Clockwork:
    """Looks again and again whether something is due, and says when it has not done so for too long."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._scheduler = Scheduler(site.crew, site.desk)
        self._witness = Witness(site.ledger, lambda: site.notary)
        self._looked = time.monotonic()

    def look(self) -> None:
        """Start the changes that are due, and have the audit chains signed."""
        self._scheduler.look()
        self._witness.look()
        self._looked = time.monotonic()

    def ailment(self) -> str:
        """Return why the site's work does not go on, or an empty text. Raises Unavailable without a database."""
        silent = time.monotonic() - self._looked
        if silent > _HANGS:
            return f"for {silent:.0f} s nobody has looked whether a change is due"
        return "" if self._site.carriers.have_worker() else "no worker that carries changes gives a sign of life"


def _work(site: Site, manner: Manner, *, serves: bool = False) -> None:
    try:
        # What nobody has typed for this worker is asked for now, or never.
        site.take_answers()
    except OrchestratorError as error:
        logs.begin(site.settings.log)
        _LOG.error("the worker does not begin: %s", error)
        raise typer.Exit(error.exit_code) from error
    logs.begin(site.settings.log, mask=site.mask())
    try:
        clock = _Clockwork(site) if serves else None
        if clock is not None and site.settings.listen is not None:
            answer_beside(Application(site.metrics.text, clock.ailment), site.settings.listen)
        _work_until_the_end(site, manner, clock)
    except OrchestratorError as error:
        _LOG.error("the worker ends: %s", error)
        raise typer.Exit(error.exit_code) from error


def _work_until_the_end(site: Site, manner: Manner, clock: _Clockwork | None) -> None:
    _when_asked_to_end(lambda: sys.exit(0))  # Where it only waits for another one.
    with site.worker(manner, meanwhile=clock.look if clock else None) as one:
        _when_asked_to_end(one.stop)
        say(f"Working for {site.settings.name}: {manner.told(alone=site.has_one_worker)}. End it with Ctrl-C.")
        one.run(clock.look if clock else lambda: None)
    # Threads that wait for supervised runs are not waited for: the runs go on, and are found again.
    logging.shutdown()
    os._exit(0)


def _when_asked_to_end(act: Callable[[], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: act())
