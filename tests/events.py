"""What a task's result says, as Ansible's callback for machines prints it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def reports_of(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what a result reports: several reports are given as a loop gives its results."""
    told = [one.get("report") for one in (result, *(result.get("results") or ()))]
    return [report for report in told if report]
