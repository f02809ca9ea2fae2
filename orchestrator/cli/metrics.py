"""``orchestrator metrics``: the figures for Prometheus."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.context import site_of
from orchestrator.cli.output import AsJson, answer, say
from orchestrator.errors import InvalidInput
from orchestrator.settings import LOOPBACK, Address
from orchestrator.web.application import Application
from orchestrator.web.server import listening


def metrics(
    context: typer.Context,
    textfile: Annotated[
        Path | None, typer.Option("--textfile", help="Write them to this file, for the node exporter's collector.")
    ] = None,
    listen: Annotated[
        str,
        typer.Option("--listen", metavar="[ADDRESS:]PORT", help="Serve /metrics until Ctrl-C; on this machine alone."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Print the site's figures for Prometheus, computed from the record now."""
    site = site_of(context)
    if textfile is not None and listen:
        raise InvalidInput("--textfile writes once and --listen goes on: choose one of them.")
    if textfile is not None:
        site.metrics.write(textfile.absolute())
        say(f"The metrics are in {textfile}.")
    elif listen:
        address = Address.of(listen)
        if address is None:
            raise InvalidInput(f"--listen takes a port, or address:port, such as {LOOPBACK}:9464, not {listen!r}.")
        with listening(Application(site.metrics.text), address) as server:
            say(f"{Address(address.host, server.server_port)}/metrics is served until Ctrl-C.")
            sys.stdout.flush()
            with suppress(KeyboardInterrupt):
                server.serve_forever()
    elif as_json:
        answer({m.name: [{"labels": s.labels, "value": int(s.value)} for s in m.samples] for m in site.measures()})
    else:
        sys.stdout.write(site.metrics.text().decode())
