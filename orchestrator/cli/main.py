"""The root of the command line: which site, which noun, and what an error looks like."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import DBAPIError

from orchestrator import __version__
from orchestrator.cli import audit, backup, change, host, lockdown, points, site, template, window, worker
from orchestrator.cli.context import Opened
from orchestrator.cli.output import errors
from orchestrator.errors import InvalidInput, OrchestratorError, Unavailable

EXIT_CODES = """Exit codes: 0 done · 1 failed · 2 input not understood · 3 no such thing · 4 refused by a rule ·
5 not permitted · 6 somebody else moved it · 7 something needed is missing or does not answer · 8 evidence refused ·
9 evidence intact, signer unknown · 10 the change that was watched did not succeed · 130 interrupted"""

#: What Typer says of a command line that it cannot read. It carries a copy of Click of its own, so that importing
#: Click's would catch nothing.
UsageProblem: type[typer.BadParameter] = typer.BadParameter.__bases__[0]

#: How Typer ends after Ctrl-C.
INTERRUPTED = 130

app = typer.Typer(
    name="orchestrator",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Change-controlled patching: from request to audit record.",
    epilog=EXIT_CODES,
)
app.add_typer(change.app, name="change")
app.add_typer(host.app, name="host")
app.add_typer(lockdown.app, name="lockdown")
app.add_typer(template.app, name="template")
app.add_typer(window.app, name="window")
app.add_typer(audit.app, name="audit")
app.add_typer(points.app, name="rollback-point")
app.add_typer(backup.app, name="backup")
site.add_to(app)
worker.add_to(app)


def version(value: bool) -> None:
    """Print the version and end."""
    if value:
        sys.stdout.write(f"orchestrator {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Option("--site", help="The site's folder; by default the one around here, or ORCHESTRATOR_SITE."),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keep which site is meant; it is opened when a command needs it."""
    context.obj = Opened(folder)


def main() -> None:
    """Run the command line; every expected failure is one message and a documented exit code."""
    result: object = 0
    try:
        result = app(standalone_mode=False)
    except OrchestratorError as error:
        _tell(str(error), error.exit_code)
    except DBAPIError as error:
        reason = str(error.orig or error).strip().partition("\n")[0]
        _tell(
            f"the database did not take part: {reason}. What this command had not said to be done has not been done. "
            "Try it again; if that does not help: orchestrator doctor",
            Unavailable.exit_code,
        )
    except UsageProblem as problem:
        _tell(f"{problem.format_message()}\nSee: {_help_of(problem)}", InvalidInput.exit_code)
    except typer.Abort:  # At a question, before anything was done.
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    if result == INTERRUPTED:
        errors.print("Detached: the work goes on. Look again with: orchestrator status")
    sys.exit(result if isinstance(result, int) else 0)


def _help_of(problem: typer.BadParameter) -> str:
    return f"{problem.ctx.command_path if problem.ctx else 'orchestrator'} --help"


def _tell(message: str, code: int) -> None:
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps({"error": message, "exit_code": code}, ensure_ascii=False) + "\n")
    else:
        errors.print(message, style="red", markup=False)
    sys.exit(code)
