"""Bad nights in a row: workers killed and held still, networks cut, the database restarted; nothing may be lost."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks._telling import arguments, tell
from tests.engine.chaos import bad_night
from tests.engine.pool import pool
from tests.postgres import running


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="how many nights")
    parser.add_argument("--first", type=int, default=0, help="the number of the first: a night can be had again by it")
    options = parser.parse_args()
    failed: list[str] = []
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as folder, running() as server, pool() as workers:
        for seed in range(options.first, options.first + options.rounds):
            url = server.url(server.new_database())
            try:
                night = bad_night(seed, Path(folder) / str(seed), url, workers, restart_database=server.restart)
            except AssertionError as error:
                failed.append(str(error))
                print(f"night {seed}: {error}", flush=True)
            else:
                seconds.append(night.seconds)
                print(f"night {seed}: {len(night.deeds)} accidents, {night.seconds:.1f} s", flush=True)
    figures = {"rounds": options.rounds, "failed": len(failed), "median_s": round(median(seconds or [0]), 1)}
    return tell("chaos", figures, {"failed": 0}, holds=not failed, keep=options.keep)


if __name__ == "__main__":
    sys.exit(main())
