"""An attempt at staging a change: with which content and hosts it began, and that they are still the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from orchestrator.domain.canonical import digest, parse_rfc3339, plain, rfc3339
from orchestrator.domain.change import ChangeRequest, ChangeState
from orchestrator.domain.clusters import why_no_drain
from orchestrator.domain.inventory import Environment, Host
from orchestrator.domain.lifecycle import ChangeEvent
from orchestrator.domain.parts import why_not_cut
from orchestrator.domain.plan import Content
from orchestrator.errors import NotFound, Refused
from orchestrator.flow import reports
from orchestrator.flow.crew import JOB_TIMEOUT, Attempt, Crew

_WHERE = (Environment.STAGING, Environment.PRODUCTION)


def freeze(change: ChangeRequest, content: Content, crew: Crew) -> Attempt:
    """Keep a copy of the content; an attempt that goes on must find what it began with."""
    known = begun_attempt(change, crew)
    if known is not None:
        if known.content != content.digest:
            raise Refused("the content (playbooks, roles, variables) was changed while staging. Stage again.")
        return known
    crew.content.freeze(content)
    found = {where: _those(crew.inventory.resolve(_pattern(change, where), where, content.digest)) for where in _WHERE}
    name, now = _names(change.id, crew)[0], crew.now()
    ahead = tuple(sorted({point.host for point in crew.ledger.store.points(change.id) if point.is_held}))
    begun = {"content": content.digest, "ahead": ahead, "at": rfc3339(now), "hosts": found}
    with crew.ledger.store.begin() as writing:
        writing.keep_document(change.id, "staging", name, plain(begun))
    return Attempt(change=change, content=content.digest, name=name, begun_at=now, hosts=found, ahead=ahead)


def begun_attempt(change: ChangeRequest, crew: Crew) -> Attempt | None:
    """Return the attempt that is under way, where it has begun."""
    if change.state is not ChangeState.STAGING:
        return None
    name = _names(change.id, crew)[0]
    begun = crew.ledger.store.documents(change.id, "staging", [name]).get(name)
    if not isinstance(begun, dict):
        return None
    kept = begun.get("hosts")
    return Attempt(
        change=change,
        content=reports.text(begun, "content"),
        name=name,
        # An attempt that an earlier program began has neither this nor its hosts.
        begun_at=parse_rfc3339(reports.text(begun, "at")) if "at" in begun else crew.now(),
        hosts={where: reports.text(kept, where.value) for where in _WHERE} if isinstance(kept, dict) else {},
        ahead=reports.texts(begun, "ahead"),
    )


def both_inventories(attempt: Attempt, content: Content, crew: Crew) -> tuple[Sequence[Host], Sequence[Host]]:
    """Return the hosts of staging and of production. Raises Refused where they cannot be worked on as they are."""
    staging, production = (hosts_of(attempt, where, crew) for where in _WHERE)
    both = {h.name for h in staging} & {h.name for h in production}
    if both:
        raise Refused(f"{', '.join(sorted(both))}: a host cannot prove a change to itself, it is in both inventories.")
    if wrong := why_not_cut((*staging, *production), content, crew.throttle):
        raise Refused("; ".join(wrong))
    if wrong := why_no_drain((*staging, *production), content):
        raise Refused("; ".join(wrong))
    return staging, production


def hosts_of(attempt: Attempt, where: Environment, crew: Crew) -> Sequence[Host]:
    """Return the hosts. Raises Refused where they are not those with which the attempt began."""
    hosts = hosts_now(attempt, where, crew)
    those = _those(hosts)
    if attempt.hosts.get(where, those) != those:
        raise Refused(f"the hosts of the {where} inventory were changed while staging. Stage again.")
    return hosts


def hosts_now(attempt: Attempt, where: Environment, crew: Crew) -> Sequence[Host]:
    """Return the hosts as they are now, whether or not the attempt began with them."""
    return crew.inventory.resolve(_pattern(attempt.change, where), where, attempt.content)


def lease_staging(attempt: Attempt, hosts: Sequence[Host], crew: Crew) -> None:
    """Lease the staging hosts; they belong to the change until it has ended. Raises Refused, naming the holder."""
    with crew.ledger.store.begin() as writing:
        hold = timedelta(seconds=JOB_TIMEOUT)
        writing.lease([host.name for host in hosts], attempt.change.id, now=crew.now(), hold=hold)


def last_content(change_id: str, crew: Crew) -> str:
    """Return the digest of the content that last worked on the staging hosts of a change. Raises NotFound."""
    begun = crew.ledger.store.documents(change_id, "staging")
    name = next((name for name in _names(change_id, crew) if name in begun), "")
    document = begun.get(name)
    if not isinstance(document, dict):
        raise NotFound(f"change {change_id} was never staged.")
    return reports.text(document, "content")


def _names(change_id: str, crew: Crew) -> list[str]:
    """Name the attempts at staging, the newest first."""
    count = sum(event.tag == ChangeEvent.STAGING_STARTED for event in crew.ledger.store.trail(change_id))
    return [f"s{number}" for number in range(count, 0, -1)]


def _pattern(change: ChangeRequest, where: Environment) -> str:
    return change.spec.staging if where is Environment.STAGING else change.spec.production


def _those(hosts: Sequence[Host]) -> str:
    """Return a digest of what says how the hosts are cut into shards."""
    return digest([[host.name, host.zone, host.cluster] for host in hosts])
