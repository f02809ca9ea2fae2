"""``orchestrator template``: what a request can be made from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.context import site_of
from orchestrator.cli.output import AsJson, answer, say, table

app = typer.Typer(no_args_is_help=True, help="Change templates.")


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List the templates of the site."""
    intake = site_of(context).intake
    found = [(name, intake.describe(name).description.strip()) for name in intake.names()]
    if as_json:
        answer([{"template": name, "description": text} for name, text in found])
        return
    table(("template", "what it is for"), found)


@app.command("show")
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    as_json: AsJson = False,
) -> None:
    """Show what a template wants to know."""
    described = site_of(context).intake.describe(name)
    if as_json:
        told = [
            {"name": p.name, "type": p.type, "required": p.required, "description": p.description or ""}
            for p in described.parameters
        ]
        answer({"template": name, "description": described.description, "parameters": told})
        return
    say(described.description.strip())
    say(f"File: {described.file}", style="dim")
    say()
    rows = [
        (p.name, str(p.type), "required" if p.required else str(p.default), p.description or "")
        for p in described.parameters
    ]
    table(("parameter", "type", "default", "meaning"), rows)


@app.command("render")
def render(context: typer.Context, file: Annotated[Path, typer.Argument(metavar="FILE")]) -> None:
    """Render a request without entering it."""
    answer(site_of(context).intake.render(file))
