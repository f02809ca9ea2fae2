"""Checks of the plan: the one that was approved, made of what staging proved, and what stands beside it."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.adapters.evidence.check_trail import course, events
from orchestrator.adapters.evidence.opened import Bundle
from orchestrator.adapters.evidence.strict import (
    Malformed,
    Object,
    entries,
    entry,
    flag,
    moment,
    number,
    same,
    sha256,
    text,
    texts,
)
from orchestrator.domain.canonical import Plain, canonical


def check_plan(bundle: Bundle) -> Iterator[str]:
    """The plan is the one that the manifest, the votes and the trail speak of."""
    standing, named = course(events(bundle)).digest, bundle.plan_digest
    if standing != named:
        yield f"the trail ends with plan {standing or 'none'}, the manifest names {named or 'none'}"
    if not named:
        return
    plan = bundle.entry("plan.json")
    if (found := sha256(bundle.raw["plan.json"])) != named:
        yield f"the digest of plan.json is {found}, the manifest names {named}"
    if plan.get("change") != bundle.change:
        yield "plan.json is the plan of another change"
    for name, key in (("lock.json", "lock"), ("content.json", "content")):
        if not same(bundle.document(name), plan.get(key)):
            yield f"{name} is not what plan.json says"
    _require_policy(plan)
    yield from _item_problems(plan)
    yield from _wave_problems(plan)


def check_population(bundle: Bundle) -> Iterator[str]:
    """Everybody whom the query found is either in the plan or left out for a reason."""
    if not bundle.plan_digest:
        return
    plan = bundle.entry("plan.json")
    told = bundle.entry("population.json", "count", "hosts", "query")
    hosts = entries(told.get("hosts"), "hosts", frozenset({"host", "included", "reason"}))
    names = [text(host, "host") for host in hosts]
    if names != sorted(set(names)) or number(told, "count") != len(names):
        yield "its hosts are not each named once, in order, and counted"
    if text(told, "query") != entry(_field(plan, "spec"), "spec").get("production"):
        yield "it is the answer to another query than the plan's"
    planned = _by_name(plan, "hosts", "host")
    left_out = _by_name(plan, "not_included", "reason")
    said_in = {text(host, "host") for host in hosts if flag(host, "included") and not text(host, "reason")}
    said_out = {text(host, "host"): text(host, "reason") for host in hosts if not flag(host, "included")}
    if said_in != planned.keys() or said_out != left_out or not all(left_out.values()):
        yield "it does not say of the same hosts as the plan that they are in, or out and why"
    if not set(texts(plan, "population")) <= set(names):
        yield "a host that the plan's query found is missing from it"


def check_request(bundle: Bundle) -> Iterator[str]:
    """The request is the one that was signed and that the plan was made for."""
    request = bundle.entry("request.json", "change", "created_at", "requester", "signed", "source_key", "spec")
    moment(request, "created_at")
    text(request, "source_key")
    first = events(bundle)[:1]
    if text(request, "change") != bundle.change:
        yield "request.json is the request of another change"
    if not first or text(first[0], "actor") != text(request, "requester"):
        yield "the trail does not begin with a request by that person"
    if bundle.plan_digest and not same(bundle.entry("plan.json").get("spec"), request.get("spec")):
        yield "the plan was made for another specification than the one requested"


def plan_hosts(plan: Object) -> list[Object]:
    """Return the host plans. Raises Malformed."""
    return entries(_field(plan, "hosts"), "hosts")


def _item_problems(plan: Object) -> Iterator[str]:
    """Everything that a host gets was proved on its platform, down to the bytes; no host goes without a way back."""
    proved = {
        (canonical(_field(lock, "platform")), *_identity(item))
        for lock in entries(entry(_field(plan, "lock"), "lock").get("platforms"), "platforms")
        for item in entries(lock.get("items"), "items")
    }
    waived = {text(waiver, "subject") for waiver in entries(_field(plan, "waivers"), "waivers")}
    for host in plan_hosts(plan):
        name, platform = text(host, "host"), canonical(_field(host, "platform"))
        unproved = [item for item in entries(host.get("items"), "items") if (platform, *_identity(item)) not in proved]
        if unproved:
            item = f"{text(unproved[0], 'name')} {text(unproved[0], 'version')}"
            yield f"{name} would get {item}, which is not in the lock"
        if text(host, "rollback_class") == "none" and f"rollback:{name}" not in waived:
            yield f"{name} has no way back, and nobody waived that"


def _wave_problems(plan: Object) -> Iterator[str]:
    placed: list[str] = []
    for wave in entries(_field(plan, "waves"), "waves"):
        batches = _field(wave, "batches")
        if not isinstance(batches, list):
            raise Malformed("batches is not a list")
        for batch in batches:
            placed += texts({"batch": batch}, "batch")
    if sorted(placed) != sorted(text(host, "host") for host in plan_hosts(plan)):
        yield "its waves are not made of its hosts, each once"


def _require_policy(plan: Object) -> None:
    spec = entry(_field(plan, "spec"), "spec")
    text(spec, "production")
    policy = entry(_field(spec, "approval"), "approval")
    required = entry(_field(policy, "required"), "required")
    for role in required:
        number(required, role)
    number(policy, "deadline")
    flag(policy, "exclude_authors")
    texts(entry(_field(plan, "content"), "content"), "authors")


def _identity(item: Object) -> tuple[str, ...]:
    return tuple(text(item, key) for key in ("name", "arch", "version", "sha256"))


def _by_name(plan: Object, key: str, value: str) -> dict[str, str]:
    found = entries(_field(plan, key), key)
    names = {text(each, "host"): text(each, value) for each in found}
    if len(names) != len(found):
        raise Malformed(f"the plan's {key} name a host twice")
    return names


def _field(of: Object, key: str) -> Plain:
    if key not in of:
        raise Malformed(f"the plan lacks {key}")
    return of[key]
