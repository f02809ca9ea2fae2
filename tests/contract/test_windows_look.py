"""The script that looks at Windows hosts, and the lab that answers it without running it."""

from __future__ import annotations

import hashlib
from importlib import resources

from lab.windows.look import DIGEST, MARKER

SCRIPT = resources.files("orchestrator.adapters.probes").joinpath("look.ps1").read_text(encoding="ascii")


def test_lab_knows_the_script_as_it_is() -> None:
    digest = hashlib.sha256(SCRIPT.strip().encode()).hexdigest()
    told = "look.ps1 was changed: read lab/windows/look.py against it, make that answer the same, then set its DIGEST"
    assert digest == DIGEST, f"{told} to {digest}"


def test_script_begins_with_the_mark_by_which_the_lab_knows_it() -> None:
    assert SCRIPT.startswith(f"{MARKER}\n")
