"""`change watch` on a terminal: the panel at its foot, and Ctrl-C, which ends the watching and nothing else."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from orchestrator.domain.change import ChangeState
from orchestrator.domain.run import HostRun, HostStatus
from orchestrator.engine.worker import only_one
from tests.commands import NOW, Site
from tests.fakes.values import SLOT

HOUR = timedelta(hours=1)


def test_panel_shows_hosts_and_the_time_left_and_ctrl_c_only_stops_watching(tmp_path: Path) -> None:
    site = Site.found(tmp_path)
    slot = replace(SLOT, start=NOW - HOUR, cutoff=NOW + 2 * HOUR, end=NOW + 3 * HOUR)
    change = site.open(state=ChangeState.RUNNING, slot=slot).id
    runs = [
        HostRun(change=change, host=host, wave=1, batch=1, status=status, updated_at=NOW)
        for host, status in (("w1", HostStatus.DONE), ("w2", HostStatus.PATCHING))
    ]
    with site.store.begin() as writing:
        writing.keep_runs(runs)
    with only_one(site.wired.carriers.lock):
        code, said = interrupted_when_it_says(r"1 of 2 hosts are settled", site, "change", "watch", change)
    assert re.search(r"1:\d\d:\d\d before the cutoff", said)
    assert re.search(r"1\.1\s+w2\s+patching", said)
    assert code == 130
    assert "Detached: the work goes on" in said
    assert site.store.change(change).state is ChangeState.RUNNING


def interrupted_when_it_says(pattern: str, site: Site, *words: str) -> tuple[int, str]:
    """Give a command on a terminal, and Ctrl-C as soon as it has said something; return its code and all it said."""
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "orchestrator", "--site", str(site.folder), *words]
    said, deadline = "", time.monotonic() + 60
    settings = os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=settings) as process:
        os.close(theirs)
        while part := _read(ours):
            assert time.monotonic() < deadline, said
            said += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", part.decode(errors="replace"))
            if re.search(pattern, said):
                process.send_signal(signal.SIGINT)
                pattern = r"\Z."
    os.close(ours)
    return process.returncode, said


def _read(terminal: int) -> bytes:
    select.select([terminal], [], [], 30)
    try:
        return os.read(terminal, 65536)
    except OSError:  # Nobody has the other end any more.
        return b""
