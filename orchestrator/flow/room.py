"""Room on the controller's disk: results wait there, and a run that cannot write them down must not begin."""

from __future__ import annotations

from orchestrator.errors import Unavailable
from orchestrator.flow.crew import Crew

#: Bytes that have to be free before anything begins: results of a night, a rollback kit, the database's own log.
LEAST = 500 << 20


def lack_of_room(crew: Crew) -> str:
    """Return why nothing may begin now, or an empty text."""
    free = crew.room()
    if free >= LEAST:
        return ""
    return f"the controller's disk is full: {free >> 20} MiB are free, {LEAST >> 20} are needed"


def require_room(crew: Crew) -> None:
    """Raise Unavailable where the results of what is to begin might not be written down."""
    if lack := lack_of_room(crew):
        raise Unavailable(f"{lack}. Make room in the state folder: orchestrator housekeeping shows what may go.")
