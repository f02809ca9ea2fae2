"""A worker's sign of life: what becomes of a worker that could not give it in time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.engine.worker import FENCED

ROOT = Path(__file__).parents[2]

#: A worker that nobody knows any more when it gives its first sign, and everybody knows the second time.
WORKER = """
import os, sys, time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from orchestrator.engine.worker import Sign

class Known:
    def enter(self, worker, *, node, zones, at):
        with open("entered", "a") as file:
            file.write(f"{os.getpid()}\\n")
    def beat(self, worker):
        return len(Path("entered").read_text().splitlines()) > 1

alone, anew = (word == "yes" for word in sys.argv[1:3])
Sign(Known(), "worker", timedelta(seconds=1), alone=alone, anew=anew).begin((), datetime.now(timezone.utc))
time.sleep(0.8)
"""


@pytest.mark.parametrize(
    ("alone", "anew", "code", "entered"),
    [
        pytest.param("no", "no", FENCED, 1, id="its service manager starts it again"),
        pytest.param("no", "yes", 0, 2, id="nobody else would start it again"),
        pytest.param("yes", "no", 0, 2, id="there can be no other that took over"),
    ],
)
def test_worker_that_was_taken_for_dead(tmp_path: Path, alone: str, anew: str, code: int, entered: int) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    argv = [sys.executable, "worker.py", alone, anew]
    done = subprocess.run(argv, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=60, check=False)
    names = (tmp_path / "entered").read_text().splitlines()
    assert (done.returncode, len(names)) == (code, entered)
    assert len(set(names)) == 1, "it is the same process, or the same program begun anew in it"
