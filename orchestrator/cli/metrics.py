"""``orchestrator metrics``: the figures for Prometheus."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.context import site_of
from orchestrator.cli.output import AsJson, answer, say
from orchestrator.errors import InvalidInput

LOOPBACK = "127.0.0.1"


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
        address, port = _place(listen)
        with site.metrics.server(address, port) as server:
            say(f"http://{address}:{server.server_port}/metrics is served until Ctrl-C.")
            sys.stdout.flush()
            with suppress(KeyboardInterrupt):
                server.serve_forever()
    elif as_json:
        answer({m.name: [{"labels": s.labels, "value": int(s.value)} for s in m.samples] for m in site.measures()})
    else:
        sys.stdout.write(site.metrics.text().decode())


def _place(listen: str) -> tuple[str, int]:
    match = re.fullmatch(r"(?:(?P<address>[A-Za-z0-9.-]+):)?(?P<port>[0-9]{1,5})", listen)
    if match is None or int(match["port"]) > 65535:
        raise InvalidInput(f"--listen takes a port, or address:port, such as {LOOPBACK}:9464, not {listen!r}.")
    return match["address"] or LOOPBACK, int(match["port"])
