"""How a benchmark is asked, and what it tells: one line of JSON, and exit code 1 where a limit is missed."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser that knows ``--keep``; ``doc`` is the benchmark's own description."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--keep", action="store_true", help="keep the figures under benchmarks/results")
    return parser


def tell(
    name: str, figures: Mapping[str, object], limit: Mapping[str, float], *, holds: bool, keep: bool = False
) -> int:
    """Print the figures and where they were measured; keep them if asked to. Return the exit code."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    line = json.dumps({"name": name, "figures": {**figures, "machine": machine}, "limit": {**limit}, "holds": holds})
    print(line)
    if keep:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(line + "\n")
    return 0 if holds else 1
