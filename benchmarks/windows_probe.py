"""A look at Windows hosts in the lab, one after the other and all at once: seconds, and CPU per host."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks._telling import arguments, tell
from lab.windows.pytest_plugin import temporary_windows_lab
from orchestrator.adapters.probes.winrm import WinRmProbe
from orchestrator.domain.inventory import Host
from orchestrator.domain.probe import Needs
from tests.windows_hosts import hosts_of

#: A look at all of them, fifty where nothing else is said, takes less than so many seconds.
SECONDS = 3.0


def looked(hosts: Sequence[Host], pool: int) -> tuple[float, float]:
    """Look at the hosts; return the seconds it took, and the CPU seconds of this process."""
    began, cpu = time.monotonic(), time.process_time()
    unfit = [report for report in WinRmProbe(pool=pool).look(hosts, Needs()) if not report.is_fit]
    if unfit:
        raise SystemExit(f"{len(unfit)} hosts are unfit, such as {unfit[0]}")
    return time.monotonic() - began, time.process_time() - cpu


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--hosts", type=int, default=50)
    parser.add_argument("--authentication", default="ntlm")
    parser.add_argument("--rounds", type=int, default=5, help="the best of so many counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, temporary_windows_lab(Path(folder), "bench") as lab:
        lab.up(*(f"win{number}" for number in range(options.hosts)), owner=os.getpid())
        hosts = hosts_of(lab, authentication=options.authentication)
        looked(hosts[:1], 1)  # Loading what speaks WinRM is not what is measured.
        rounds = [(looked(hosts, 1), looked(hosts, 50)) for _ in range(options.rounds)]
    in_turn = min(seconds for (seconds, _), _ in rounds)
    at_once = min(seconds for _, (seconds, _) in rounds)
    cpu = min(spent for _, (_, spent) in rounds)
    ratio = at_once / in_turn
    figures = {
        "seconds_one_by_one": round(in_turn, 2), "seconds_at_once": round(at_once, 2),
        "at_once_to_one_by_one": round(ratio, 2), "cpu_ms_per_host": round(1000 * cpu / options.hosts, 1),
        "hosts": options.hosts, "authentication": options.authentication,
    }  # fmt: skip
    holds = at_once < SECONDS
    return tell("windows_probe", figures, {"seconds": SECONDS}, holds=holds, keep=options.keep)


if __name__ == "__main__":
    sys.exit(main())
