"""How commands speak: tables and plain sentences for people, JSON for programs, errors without a traceback."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.domain.canonical import plain
from orchestrator.errors import Refused

Yes = Annotated[bool, typer.Option("--yes", help="Do it. Without this word the command only shows what it would do.")]
Key = Annotated[
    str, typer.Option("--key", help="SSH key to sign with; by default the agent's or ~/.ssh one that people.yml knows.")
]
Detach = Annotated[bool, typer.Option("--detach", help="Do not watch; look later with: change watch ID.")]

#: Where nobody looks at a screen, a line may be long; cutting it into columns would only make it hard to search.
#: A caller that shows the output on a screen of its own says how wide that is (COLUMNS, as in any shell).
_WIDE = None if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit() else 200
console = Console(highlight=False, soft_wrap=True, width=_WIDE)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def _speak_aside(value: bool) -> bool:
    """With ``--json`` only the answer goes to standard output; what is said to people goes beside it."""
    console.stderr = console.stderr or value
    return value


AsJson = Annotated[bool, typer.Option("--json", callback=_speak_aside, help="Answer in JSON, for programs.")]

_COLOURS = {
    "succeeded": "green", "done": "green", "closed": "green", "approved": "green", "fit": "green", "ok": "green",
    "running": "cyan", "staging": "cyan", "rolling-back": "yellow", "paused": "yellow", "skipped": "yellow",
    "failed": "red", "unknown": "red", "restore-failed": "red", "rejected": "red", "problem": "red",
    "rolled-back": "magenta", "restored": "magenta",
}  # fmt: skip


def say(text: str = "", style: str = "") -> None:
    """Write a line."""
    console.print(Text(text, style=style))


def warn(text: str) -> None:
    """Write a line that should not be overlooked, beside the answer."""
    errors.print(Text(text, style="yellow"))


def answer(value: object) -> None:
    """Write a value as JSON."""
    sys.stdout.write(json.dumps(plain(value), sort_keys=True, ensure_ascii=False, indent=2) + "\n")


def coloured(word: str) -> Text:
    """Return a state in its colour."""
    return Text(word, style=_COLOURS.get(word, ""))


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, title: str = "") -> None:
    """Write a table; on a pipe it is as wide as it needs to be, so that nothing is cut."""
    drawn = Table(*columns, title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in drawn.columns:
        column.overflow = "fold"
    for row in rows:
        drawn.add_row(*row)
    console.print(drawn)


def facts(pairs: Iterable[tuple[str, str | Text]]) -> None:
    """Write names and values below each other."""
    grid = Table.grid(padding=(0, 2))
    for name, value in pairs:
        grid.add_row(Text(name, style="bold"), value)
    console.print(grid)


def needs_yes(yes: bool, what: str) -> bool:
    """Tell whether to go on; without ``--yes`` on a terminal ask, elsewhere say that nothing was done."""
    if yes:
        return True
    if sys.stdin.isatty() and sys.stdout.isatty():
        return typer.confirm(f"{what}?", default=False)
    say(f"Nothing was done. To {what[0].lower()}{what[1:]}, add --yes.", style="bold")
    return False


def reason_or_ask(reason: str) -> str:
    """Return the reason, asked for on a terminal where it was not given. Raises Refused elsewhere."""
    if reason.strip():
        return reason
    if sys.stdin.isatty():
        return str(typer.prompt("Reason"))
    raise Refused("this needs a reason: --reason …")
