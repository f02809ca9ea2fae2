"""A worker whose engine is slow to begin with what it took: many changes wait for their threads, and none is lost."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import dbos._queue

from orchestrator.adapters.store import SqlWorkers, codec, open_database, open_for_engine
from orchestrator.domain.change import CARRIED
from orchestrator.engine import durable
from orchestrator.engine.durable import Durable
from orchestrator.engine.locks import Alone
from orchestrator.engine.queueing import LazyQueue
from orchestrator.engine.worker import SINGLE, Manner, Worker
from orchestrator.flow import staging
from orchestrator.flow.ledger import Ledger
from tests.fakes.site import OMAR, FakeSite

#: So many changes begin at once, with so many seconds between two; together longer than patience lasts.
CROWD, SLOWLY, PATIENCE = 10, 0.4, 1.0


def play(url: str, folder: Path) -> dict[str, int]:
    """Begin a crowd of changes, and carry them to their end; return how they stand."""
    durable.LOST = PATIENCE
    library: Any = dbos._queue
    begin = library.execute_dequeued_workflow

    def begin_slowly(*of: object) -> object:
        time.sleep(SLOWLY)
        return begin(*of)

    library.execute_dequeued_workflow = begin_slowly
    engine = open_for_engine(url)
    site = FakeSite(open_database(url), folder)
    site.ledger = Ledger(site.store, site.clock, LazyQueue(url, lambda: engine))
    site.crew = site.crew_with_ledger()
    for number in range(CROWD):
        staging.begin(site.submit(source=f"file:{number}").id, OMAR, site.crew)
    here = Durable(crew=site.crew, engine=engine, executor=SINGLE, codec=codec, sharing=lambda change: nullcontext())
    workers = SqlWorkers(open_for_engine(url, size=2))
    worker = Worker(here, workers, "crowded", Manner(pause=0.2), site.clock, alone=Alone())

    def look() -> None:
        if not list(site.store.changes(CARRIED)) and here.is_idle():
            worker.stop()

    worker.run(look)
    return Counter(change.state.value for change in site.store.changes())


if __name__ == "__main__":
    print(json.dumps(play(sys.argv[1], Path(sys.argv[2]))), flush=True)
    os._exit(0)
