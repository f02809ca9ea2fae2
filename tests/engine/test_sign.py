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
from orchestrator.engine.worker import LeasedSign, Sign, begin_anew, leave

class Known:
    def enter(self, worker, *, node, zones, at):
        with open("entered", "a") as file:
            file.write(f"{os.getpid()}\\n")
    def beat(self, worker):
        return len(Path("entered").read_text().splitlines()) > 1

lease, end = timedelta(seconds=1), {"leaves": leave, "begins anew": begin_anew}.get(sys.argv[1])
sign = LeasedSign(Known(), "worker", lease, end) if end else Sign(Known(), "worker", lease)
sign.begin((), datetime.now(timezone.utc))
for _ in range(300):
    if Known().beat("worker"):
        break
    time.sleep(0.1)
time.sleep(0.8)
"""


@pytest.mark.parametrize(
    ("kind", "code", "entered"),
    [
        pytest.param("leaves", FENCED, 1, id="its service manager starts it again"),
        pytest.param("begins anew", 0, 2, id="nobody else would start it again"),
        pytest.param("only one", 0, 2, id="there can be no other that took over"),
    ],
)
def test_worker_that_was_taken_for_dead(tmp_path: Path, kind: str, code: int, entered: int) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    argv = [sys.executable, "worker.py", kind]
    done = subprocess.run(argv, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=60, check=False)
    names = (tmp_path / "entered").read_text().splitlines()
    assert (done.returncode, len(names)) == (code, entered)
    assert len(set(names)) == 1, "it is the same process, or the same program begun anew in it"
