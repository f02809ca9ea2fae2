"""A bundle that was written holds; whatever is changed in it afterwards is found, by us and by a second verifier."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo.forging import flipped
from orchestrator.adapters.evidence import keys
from orchestrator.adapters.evidence.bundle import Notary, write_bundle
from orchestrator.adapters.evidence.keys import SigningKey, make, rotate
from orchestrator.adapters.evidence.trust import read_pins
from orchestrator.adapters.evidence.verifier import verify_bundle, verify_checkpoint, verify_trail
from orchestrator.domain.approval import ApprovalPolicy, Decision, Vote
from orchestrator.domain.audit import Fact
from orchestrator.domain.canonical import Plain, canonical, digest
from orchestrator.domain.evidence import Standing, Verdict, checkpoint_line, next_checkpoint
from orchestrator.domain.journal import Outcome, Step, StepRecord
from orchestrator.errors import EvidenceRefused, Refused, SignerUnknown
from tests import independent_verifier as second
from tests.evidence_case import (
    CHANGE,
    DAY,
    START,
    Case,
    Head,
    Loose,
    SshKey,
    fact,
    is_valid,
    make_ssh_key,
    new_case,
    pack_raw,
    sign,
    step,
    voted,
)


@dataclass(frozen=True)
class Site:
    """One installation with its key, its people, and one good bundle."""

    folder: Path
    ssh: dict[str, SshKey]
    key: SigningKey
    bundle: Path
    loose: Loose = field(repr=False)

    @property
    def public(self) -> Path:
        return self.folder / "keys" / keys.PUBLIC


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    ssh = {name: make_ssh_key(folder, name) for name in ("anna", "ben", "cleo")}
    key = make(folder / "keys", at=DAY)
    bundle = write_bundle(folder / "bundle.tar.gz", new_case(folder / "case", ssh, key).contents(), key)
    return Site(folder=folder, ssh=ssh, key=key, bundle=bundle, loose=Loose.of(bundle))


@pytest.fixture
def case(site: Site, tmp_path: Path) -> Case:
    return new_case(tmp_path / "case", site.ssh, site.key)


def both(bundle: Path, *pinned: Path | str, **more: Path) -> Verdict:
    """Let both verifiers judge, see that they agree, and return what ours found."""
    ours = verify_bundle(bundle, pins=read_pins(pinned, **more), is_valid=is_valid)
    theirs, reasons = second.verify(bundle, second.pinned([str(pin) for pin in pinned], **more))
    assert theirs == ours.standing, (ours.findings, reasons)
    return ours


def found(verdict: Verdict) -> dict[str, str]:
    return {finding.check: finding.message for finding in reversed(verdict.findings)}


# What holds.


def test_bundle_is_verified_with_the_pinned_key(site: Site) -> None:
    verdict = both(site.bundle, site.public)
    assert verdict.standing is Standing.VERIFIED
    assert (verdict.change, verdict.events, verdict.checkpoint) == (CHANGE, 14, 2)
    assert verdict.signer == site.key.public.fingerprint
    assert len(verdict.checks) == 18


def test_same_contents_give_the_same_file(site: Site, tmp_path: Path) -> None:
    contents = new_case(tmp_path / "case", site.ssh, site.key).contents()
    first = Notary(key=site.key).write_bundle(tmp_path / "1.tar.gz", contents).read_bytes()
    assert Notary(key=site.key).write_bundle(tmp_path / "2.tar.gz", contents).read_bytes() == first


def test_without_a_pinned_key_the_signer_is_unknown(site: Site) -> None:
    with pytest.raises(SignerUnknown, match="no key was pinned"):
        both(site.bundle).require()


def test_fingerprint_alone_says_that_the_key_is_needed(site: Site) -> None:
    assert "the key itself was not given" in both(site.bundle, site.key.public.fingerprint).unknown_signer


def test_fingerprint_and_history_are_enough(site: Site) -> None:
    history = site.folder / "keys" / keys.HISTORY
    assert both(site.bundle, site.key.public.fingerprint, history=history).standing is Standing.VERIFIED


def test_pinned_old_key_verifies_what_its_successor_signed(site: Site, tmp_path: Path) -> None:
    make(tmp_path / "keys", at=DAY)
    (tmp_path / "old.pem").write_bytes((tmp_path / "keys" / keys.PUBLIC).read_bytes())
    new = rotate(tmp_path / "keys", at=DAY, algorithm=keys.Algorithm.ECDSA_P256)
    bundle = write_bundle(tmp_path / "b.tar.gz", new_case(tmp_path / "case", site.ssh, new).contents(), new)
    assert both(bundle, tmp_path / "old.pem").standing is Standing.SIGNER_UNKNOWN
    history = tmp_path / "keys" / keys.HISTORY
    assert both(bundle, tmp_path / "old.pem", history=history).standing is Standing.VERIFIED


def test_replaced_key_signs_nothing_new(site: Site, tmp_path: Path) -> None:
    old = make(tmp_path / "keys", at=DAY)
    (tmp_path / "old.pem").write_bytes((tmp_path / "keys" / keys.PUBLIC).read_bytes())
    rotate(tmp_path / "keys", at=START)
    bundle = write_bundle(tmp_path / "b.tar.gz", new_case(tmp_path / "case", site.ssh, old).contents(), old)
    verdict = both(bundle, tmp_path / "old.pem", history=tmp_path / "keys" / keys.HISTORY)
    assert "was replaced at 2026-11-20T22:00:00Z" in found(verdict)["checkpoint"]


def test_checkpoint_that_was_sent_outside_is_the_same(site: Site, tmp_path: Path) -> None:
    fields = site.loose.said["checkpoint.json"]
    document, signature = canonical(fields["checkpoint"]), canonical(fields["signature"])
    (tmp_path / "outside.jsonl").write_bytes(checkpoint_line(document, signature) + b"\n")
    assert both(site.bundle, site.public, checkpoints=tmp_path / "outside.jsonl").standing is Standing.VERIFIED


def test_rewritten_past_is_not_what_was_sent_outside(site: Site, tmp_path: Path) -> None:
    """Somebody owns controller, database and key, and writes the whole story anew."""
    fields = site.loose.said["checkpoint.json"]
    line = checkpoint_line(canonical(fields["checkpoint"]), canonical(fields["signature"]))
    (tmp_path / "outside.jsonl").write_bytes(line + b"\n")
    forged = site.loose.copy()
    forged.said["trail.jsonl"][-1]["data"]["code"] = "successful"
    forged.chain_anew(site.key, seq=2).list_anew(site.key)
    bundle = forged.pack(tmp_path / "forged.tar.gz")
    assert both(bundle, site.public).standing is Standing.VERIFIED
    verdict = both(bundle, site.public, checkpoints=tmp_path / "outside.jsonl")
    assert "the past was rewritten" in found(verdict)["checkpoint"]


def test_auditors_own_list_of_people_decides(site: Site, tmp_path: Path) -> None:
    lines = [f"{name} {key.public}\n" for name, key in site.ssh.items()]
    (tmp_path / "all").write_text("".join(lines))
    (tmp_path / "some").write_text("".join(line for line in lines if not line.startswith("cleo")))
    assert both(site.bundle, site.public, signers=tmp_path / "all").standing is Standing.VERIFIED
    verdict = both(site.bundle, site.public, signers=tmp_path / "some")
    assert "your own list" in found(verdict)["votes"]


def test_change_that_ended_without_a_plan_has_a_bundle_too(site: Site, case: Case, tmp_path: Path) -> None:
    case.edit_facts = lambda facts: [facts[0], fact("anna", "cancelled", DAY, "cancelled")]
    contents = case.contents()
    contents = replace(
        contents, plan=None, change=replace(contents.change, votes=(), waivers=(), plan_digest=""), steps=(), tasks=()
    )
    verdict = both(write_bundle(tmp_path / "b.tar.gz", contents, site.key), site.public)
    assert (verdict.standing, verdict.plan_digest) == (Standing.VERIFIED, "")


# What somebody without the key does to the file.


def test_flipped_byte_is_found(site: Site, tmp_path: Path) -> None:
    raw = site.bundle.read_bytes()
    (tmp_path / "b.tar.gz").write_bytes(flipped(raw, len(raw) // 2))
    assert "archive" in found(both(tmp_path / "b.tar.gz", site.public))


def test_bundle_signed_by_a_stranger_is_not_verified(site: Site, tmp_path: Path) -> None:
    stranger = make(tmp_path / "keys", at=DAY)
    bundle = site.loose.copy().chain_anew(stranger).list_anew(stranger).pack(tmp_path / "b.tar.gz")
    with pytest.raises(SignerUnknown, match="none of the pinned keys"):
        both(bundle, site.public).require()


def test_signature_of_a_stranger_under_our_name_is_refused(site: Site, tmp_path: Path) -> None:
    stranger = make(tmp_path / "keys", at=DAY)
    forged = site.loose.copy().list_anew(stranger)
    forged.said["manifest.sig"]["key"] = site.key.public.fingerprint
    verdict = both(forged.pack(tmp_path / "b.tar.gz"), site.public)
    assert "is not the one of" in found(verdict)["signature"]


def test_checkpoint_of_a_stranger_in_our_bundle_is_refused(site: Site, tmp_path: Path) -> None:
    stranger = make(tmp_path / "keys", at=DAY)
    bundle = site.loose.copy().chain_anew(stranger).list_anew(site.key).pack(tmp_path / "b.tar.gz")
    assert "its checkpoint by" in found(both(bundle, site.public))["checkpoint"]


FIXED = ("approvals.json", "content.json", "journal.jsonl", "people.json", "plan.json", "trail.jsonl", "waivers.json")


@pytest.mark.parametrize("name", [*FIXED, "packages/web1.after.json", "tasks/CHG-0007.w1b1.patch.events.jsonl.gz"])
def test_file_that_was_taken_out_is_named(site: Site, tmp_path: Path, name: str) -> None:
    raw = site.loose.raw()
    del raw[name]
    verdict = both(pack_raw(tmp_path / "b.tar.gz", raw), site.public)
    assert found(verdict)["files"] == f"{name} is missing"


@pytest.mark.parametrize("name", ["extra.json", "tasks/more.jsonl", "health/web9.json"])
def test_file_that_was_put_in_is_named(site: Site, tmp_path: Path, name: str) -> None:
    raw = site.loose.raw() | {name: b'{"health":[],"host":"web9"}'}
    verdict = both(pack_raw(tmp_path / "b.tar.gz", raw), site.public)
    assert f"{name} is not in the manifest" in [f.message for f in verdict.findings]


@pytest.mark.parametrize(
    "name", ["plan.json", "packages/web2.before.json", "tasks/CHG-0007.w1b1.patch.events.jsonl.gz"]
)
def test_file_that_was_changed_is_named(site: Site, tmp_path: Path, name: str) -> None:
    raw = site.loose.raw()
    raw[name] = raw[name].replace(b"3.0.19", b"3.0.18") + (b"x" if name.startswith("tasks") else b"")
    verdict = both(pack_raw(tmp_path / "b.tar.gz", raw), site.public)
    assert found(verdict)["files"].startswith(f"{name} was changed")


def test_spaces_in_a_document_are_found(site: Site, tmp_path: Path) -> None:
    raw = site.loose.raw()
    raw["people.json"] = json.dumps(json.loads(raw["people.json"]), sort_keys=True).encode()
    assert (
        "people.json is not canonical JSON"
        in found(both(pack_raw(tmp_path / "b.tar.gz", raw), site.public))["canonical"]
    )


# What somebody does who has the key, and packs a manifest that fits.


def insider(site: Site, target: Path, edit: Callable[[dict[str, Any]], object], *, chain: bool) -> dict[str, str]:
    loose = site.loose.copy()
    edit(loose.said)
    if chain:
        loose.chain_anew(site.key)
    return found(both(loose.list_anew(site.key).pack(target), site.public))


def test_event_taken_out_of_the_trail_is_found(site: Site, tmp_path: Path) -> None:
    reasons = insider(site, tmp_path / "b.tar.gz", lambda said: said["trail.jsonl"].pop(6), chain=False)
    assert reasons["trail"] == "event 7 is missing: event 8 follows event 6"


def test_last_event_taken_off_the_trail_is_found(site: Site, tmp_path: Path) -> None:
    reasons = insider(site, tmp_path / "b.tar.gz", lambda said: said["trail.jsonl"].pop(), chain=False)
    assert "has 13 events, but not the 14" in reasons["trail"]


def test_changed_event_is_found(site: Site, tmp_path: Path) -> None:
    edit = lambda said: said["trail.jsonl"][-1].update(outcome="failed")  # noqa: E731
    assert "event 14 (closed) was changed" in insider(site, tmp_path / "b.tar.gz", edit, chain=False)["trail"]


def test_trail_that_was_chained_anew_has_no_place_under_the_old_checkpoint(site: Site, tmp_path: Path) -> None:
    loose, old = site.loose.copy(), site.loose.copy().said["checkpoint.json"]
    loose.said["trail.jsonl"][-1]["outcome"] = "failed"
    loose.chain_anew(site.key).said["checkpoint.json"] = old
    reasons = found(both(loose.list_anew(site.key).pack(tmp_path / "b.tar.gz"), site.public))
    assert "its leaf is not this change" in reasons["checkpoint"]
    loose.said["checkpoint.json"]["leaf"] |= loose.said["manifest.json"]["chain"]
    reasons = found(both(loose.list_anew(site.key).pack(tmp_path / "b.tar.gz"), site.public))
    assert "does not lead from this trail" in reasons["checkpoint"]


def reason_of_a_vote(said: dict[str, Any]) -> None:
    said["approvals.json"][0]["reason"] = "whatever"


def signed_words_of_a_vote(said: dict[str, Any]) -> None:
    said["approvals.json"][0]["signed"]["statement"]["reason"] = said["approvals.json"][0]["reason"] = "whatever"


def vote_of_another_plan(said: dict[str, Any]) -> None:
    said["approvals.json"][0]["digest"] = "0" * 64


def key_of_a_voter(said: dict[str, Any]) -> None:
    said["people.json"][1]["keys"] = said["people.json"][0]["keys"]


def role_of_a_voter(said: dict[str, Any]) -> None:
    said["people.json"][1]["roles"] = ["approver"]


def voter_is_the_deputy(said: dict[str, Any]) -> None:
    said["people.json"][1]["acts_for"] = ["anna"]


def voter_sits_at_the_requesters_desk(said: dict[str, Any]) -> None:
    said["approvals.json"][0]["account"] = "anna"


def vote_is_missing(said: dict[str, Any]) -> None:
    del said["approvals.json"][1]


def vote_twice(said: dict[str, Any]) -> None:
    said["approvals.json"].append(said["approvals.json"][0])


def one_more_host(said: dict[str, Any]) -> None:
    said["plan.json"]["hosts"].append({**said["plan.json"]["hosts"][0], "host": "web9"})


def lock_of_other_bytes(said: dict[str, Any]) -> None:
    said["lock.json"]["platforms"][0]["items"][0]["sha256"] = "0" * 64


def content_of_other_files(said: dict[str, Any]) -> None:
    said["content.json"]["files"][0]["sha256"] = "0" * 64


def silent_about_a_host(said: dict[str, Any]) -> None:
    del said["population.json"]["hosts"][2]


def other_requester(said: dict[str, Any]) -> None:
    said["request.json"]["requester"] = "ben"


def other_wish(said: dict[str, Any]) -> None:
    said["request.json"]["spec"]["production"] = "all"


def waiver_of_another(said: dict[str, Any]) -> None:
    said["waivers.json"][0]["by"] = "cleo"


def no_waiver(said: dict[str, Any]) -> None:
    del said["waivers.json"]


def patch_without_a_point(said: dict[str, Any]) -> None:
    said["journal.jsonl"] = [r for r in said["journal.jsonl"] if (r["host"], r["step"]) != ("web1", "protect")]


def outcome_without_a_step(said: dict[str, Any]) -> None:
    said["journal.jsonl"] = [r for r in said["journal.jsonl"] if (r["host"], r["step"]) != ("web2", "restore")]


def nobody_approved(said: dict[str, Any]) -> None:
    said["trail.jsonl"] = [event for event in said["trail.jsonl"] if event["tag"] != "approved"]


def voted_after_the_plan_was_void(said: dict[str, Any]) -> None:
    said["trail.jsonl"].insert(4, {**said["trail.jsonl"][2], "tag": "vote-expired"})


def approved_before_the_second_vote(said: dict[str, Any]) -> None:
    trail = said["trail.jsonl"]
    trail.insert(5, trail.pop(6))


def late_vote(said: dict[str, Any]) -> None:
    said["trail.jsonl"][5]["at"] = "2026-12-20T22:00:00Z"


def other_task_events(said: dict[str, Any]) -> None:
    said["trail.jsonl"][9]["data"]["artifacts"]["events"] = "0" * 64


def stranger_among_the_outcomes(said: dict[str, Any]) -> None:
    said["trail.jsonl"][10]["data"]["host"] = "db1"


def window_of_another_night(said: dict[str, Any]) -> None:
    said["trail.jsonl"][7]["data"] = {"start": "2026-11-21T22:00:00Z", "end": "2026-11-22T02:00:00Z"}


def request_of_another_change(said: dict[str, Any]) -> None:
    said["request.json"]["change"] = "CHG-0001"


INSIDE: Sequence[tuple[Callable[[dict[str, Any]], None], str, str]] = (
    (reason_of_a_vote, "votes", "the vote of ben: what was signed says reason"),
    (signed_words_of_a_vote, "votes", "the vote of ben: the signature is not one of ben for these words"),
    (vote_of_another_plan, "votes", "not for this one"),
    (key_of_a_voter, "votes", "the key is not one that people.json gives ben in these roles"),
    (role_of_a_voter, "votes", "the key is not one that people.json gives ben in these roles"),
    (voter_is_the_deputy, "votes", "the voter acts for anna"),
    (voter_sits_at_the_requesters_desk, "votes", "from the account of anna"),
    (vote_is_missing, "votes", "event 6 is a vote of cleo that is missing"),
    (vote_is_missing, "approval", "approved with 1 of 2 votes from cab"),
    (vote_twice, "votes", "the trail knows no such vote"),
    (one_more_host, "plan", "the digest of plan.json is"),
    (lock_of_other_bytes, "plan", "lock.json is not what plan.json says"),
    (content_of_other_files, "plan", "content.json is not what plan.json says"),
    (silent_about_a_host, "population", "each named once, in order, and counted"),
    (other_requester, "request", "does not begin with a request by that person"),
    (other_requester, "votes", "the voter requested this change"),
    (other_wish, "request", "another specification"),
    (other_wish, "requester", "what was signed says digest"),
    (request_of_another_change, "request", "request of another change"),
    (waiver_of_another, "waivers", "not those of the plan"),
    (no_waiver, "waivers", "not those of the plan"),
    (patch_without_a_point, "journal", "web1 was patched at 2026-11-20T22:01:00Z without a protect step"),
    (outcome_without_a_step, "outcomes", "says web2 is restored, and the journal has no step restore"),
    (nobody_approved, "trail", "event 7 (scheduled) happened while there was no approval"),
    (voted_after_the_plan_was_void, "trail", "event 6 (voted) happened while there was no plan"),
    (approved_before_the_second_vote, "approval", "approved with 1 of 2 votes from cab"),
    (late_vote, "approval", "a vote came after the deadline"),
    (other_task_events, "tasks", "which the trail names, are missing"),
    (stranger_among_the_outcomes, "outcomes", "is about db1, which is not in the plan"),
    (window_of_another_night, "journal", "outside every window"),
)


@pytest.mark.parametrize(
    ("edit", "check", "reason"), INSIDE, ids=lambda value: getattr(value, "__name__", None) or value
)
def test_holder_of_the_key_is_contradicted(
    site: Site, tmp_path: Path, edit: Callable[[dict[str, Any]], None], check: str, reason: str
) -> None:
    loose = site.loose.copy()
    edit(loose.said)
    loose.chain_anew(site.key).list_anew(site.key)
    verdict = both(loose.pack(tmp_path / "b.tar.gz"), site.public)
    messages = [finding.message for finding in verdict.findings if finding.check == check]
    assert any(reason in message for message in messages), verdict.findings


# What retention has removed.


def removal(case: Case, *digests: str, after: str = "closed") -> Callable[[list[Fact]], list[Fact]]:
    """Return an edit that has the trail say, after an event, that files of task events were removed."""

    def edit(facts: list[Fact]) -> list[Fact]:
        gone: list[Plain] = list(digests) or [d for f in facts for d in artifacts(f)]
        at = next(number for number, each in enumerate(facts, start=1) if each.tag == after)
        said = fact("omar", "task-events-removed", START + timedelta(days=400), "", {"removed": gone, "reason": "old"})
        return [*facts[:at], said, *facts[at:]]

    return edit


def artifacts(of: Fact) -> list[str]:
    named = of.data.get("artifacts")
    return [str(digest) for digest in named.values()] if isinstance(named, dict) else []


def without_tasks(case: Case, tmp_path: Path) -> Verdict:
    contents = replace(case.contents(), tasks=())
    return both(write_bundle(tmp_path / "b.tar.gz", contents, case.key), tmp_path / "public.pem")


def test_bundle_without_the_task_events_that_its_trail_calls_removed_is_verified(case: Case, tmp_path: Path) -> None:
    case.edit_facts = removal(case)
    verdict = without_tasks(case, tmp_path)
    assert (verdict.standing, verdict.removed) == (Standing.VERIFIED, 1)
    assert Loose.of(tmp_path / "b.tar.gz").said["manifest.json"]["format"] == "patch-orchestrator-evidence/2"


def test_task_events_that_are_called_removed_and_are_still_there_do_no_harm(case: Case, tmp_path: Path) -> None:
    case.edit_facts = removal(case)
    assert written(case, tmp_path).standing is Standing.VERIFIED


def test_missing_task_events_of_which_the_trail_says_nothing_are_refused(case: Case, tmp_path: Path) -> None:
    assert "which the trail names, are missing" in found(without_tasks(case, tmp_path))["tasks"]


def test_removal_of_other_task_events_excuses_nothing(case: Case, tmp_path: Path) -> None:
    case.edit_facts = removal(case, "ab" * 32)
    messages = [finding.message for finding in without_tasks(case, tmp_path).findings]
    assert any("were removed which no event before it names" in message for message in messages)
    assert any("which the trail names, are missing" in message for message in messages)


def test_removal_before_the_change_has_ended_is_refused(case: Case, tmp_path: Path) -> None:
    case.edit_facts = removal(case, after="succeeded")
    assert "removed before the change had ended" in found(without_tasks(case, tmp_path))["tasks"]


def test_removal_means_nothing_in_format_1(case: Case, site: Site, tmp_path: Path) -> None:
    case.edit_facts = removal(case)
    without_tasks(case, tmp_path)
    loose = Loose.of(tmp_path / "b.tar.gz")
    loose.said["manifest.json"]["format"] = "patch-orchestrator-evidence/1"
    verdict = both(loose.list_anew(site.key).pack(tmp_path / "c.tar.gz"), site.public)
    assert "which the trail names, are missing" in found(verdict)["tasks"]


def test_format_2_without_a_removal_is_refused(site: Site, tmp_path: Path) -> None:
    loose = site.loose.copy()
    loose.said["manifest.json"]["format"] = "patch-orchestrator-evidence/2"
    verdict = both(loose.list_anew(site.key).pack(tmp_path / "c.tar.gz"), site.public)
    assert found(verdict) == {"tasks": "the format says that task events were removed, and the trail does not"}


# What the product itself must never do, had it a hole.


def written(case: Case, tmp_path: Path) -> Verdict:
    return both(write_bundle(tmp_path / "b.tar.gz", case.contents(), case.key), case.folder.parents[0] / "public.pem")


@pytest.fixture(autouse=True)
def _public_key(site: Site, tmp_path: Path) -> None:
    (tmp_path / "public.pem").write_bytes(site.public.read_bytes())


def by_the_requester(votes: tuple[Vote, ...], ssh: dict[str, SshKey]) -> tuple[Vote, ...]:
    said = replace(votes[0].signed.statement, signer="anna")
    return (replace(votes[0], approver="anna", account="", signed=sign(said, ssh["anna"])), votes[1])


def test_vote_of_the_requester_is_refused(case: Case, tmp_path: Path) -> None:
    case.edit_votes = lambda votes: by_the_requester(votes, case.ssh)
    case.edit_people = lambda people: [replace(p, roles=p.roles | {"cab"}) for p in people]
    assert [f.message for f in written(case, tmp_path).findings] == [
        "the vote of anna: the voter requested this change"
    ]


def test_vote_of_an_author_is_refused_where_the_policy_says_so(case: Case, tmp_path: Path) -> None:
    case.policy = ApprovalPolicy(required={"cab": 2}, exclude_authors=True)
    assert "the vote of cleo: the voter wrote content" in found(written(case, tmp_path))["votes"]


def rejected(vote: Vote, key: SshKey) -> Vote:
    said = replace(vote.signed.statement, decision="reject")
    return replace(vote, decision=Decision.REJECT, signed=sign(said, key))


def test_approval_against_a_veto_is_refused(case: Case, tmp_path: Path) -> None:
    no: list[Vote] = []

    def veto(votes: tuple[Vote, ...]) -> tuple[Vote, ...]:
        no[:] = [rejected(votes[1], case.ssh["cleo"])]
        return (votes[0], *no)

    def tell(facts: list[Fact]) -> list[Fact]:
        return [*facts[:5], fact("cleo", "rejected", no[0].at, "rejected", voted(no[0])), *facts[5:]]

    case.edit_votes, case.edit_facts, case.policy = veto, tell, ApprovalPolicy(required={"cab": 1})
    assert found(written(case, tmp_path)) == {"approval": "the plan was approved although somebody had said no"}


def test_rejected_change_is_verified_with_its_veto(case: Case, tmp_path: Path) -> None:
    no: list[Vote] = []

    def veto(votes: tuple[Vote, ...]) -> tuple[Vote, ...]:
        no[:] = [rejected(votes[1], case.ssh["cleo"])]
        return tuple(no)

    case.edit_votes = veto
    case.edit_facts = lambda facts: [*facts[:4], fact("cleo", "rejected", no[0].at, "rejected", voted(no[0]))]
    case.edit_steps = lambda steps: [s for s in steps if s.host == "stage1"]
    contents = replace(case.contents(), tasks=())
    assert both(write_bundle(tmp_path / "b.tar.gz", contents, case.key), tmp_path / "public.pem").standing == "verified"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (step("web1", Step.PATCH, DAY), "web1 was patched at 2026-11-20T08:00:00Z, before the change was started"),
        (step("db1", Step.PATCH, START), "db1 was patched at 2026-11-20T22:00:00Z and is not in the plan"),
        (step("web1", Step.PATCH, START + timedelta(hours=4)), "outside every window"),
    ],
)
def test_patch_of_a_host_that_was_not_due_is_refused(case: Case, tmp_path: Path, more: StepRecord, reason: str) -> None:
    case.edit_steps = lambda steps: [*steps, more]
    assert reason in found(written(case, tmp_path))["journal"]


def test_point_that_could_not_be_taken_is_none(case: Case, tmp_path: Path) -> None:
    case.edit_steps = lambda steps: [
        replace(s, outcome=Outcome.FAILED) if (s.host, s.step) == ("web1", Step.PROTECT) else s for s in steps
    ]
    assert "without a protect step" in found(written(case, tmp_path))["journal"]


def test_drift_during_the_run_leaves_the_approval(case: Case, tmp_path: Path) -> None:
    at = START + timedelta(minutes=7)
    pause = [fact("orchestrator", "drift-found", at, "paused"), fact("ben", "resumed", at, "running")]
    case.edit_facts = lambda facts: [*facts[:10], *pause, *facts[10:]]
    assert written(case, tmp_path).standing is Standing.VERIFIED


def test_drift_before_the_run_takes_the_approval_away(case: Case, tmp_path: Path) -> None:
    drift = fact("orchestrator", "drift-found", START, "requested")
    case.edit_facts = lambda facts: [*facts[:8], drift, *facts[8:]]
    assert "event 10 (started) happened while there was no approval" in found(written(case, tmp_path))["trail"]


def test_trail_beyond_its_checkpoint_is_not_exported(case: Case, tmp_path: Path) -> None:
    contents = case.contents()
    with pytest.raises(Refused, match="Make a checkpoint now"):
        write_bundle(tmp_path / "b.tar.gz", replace(contents, trail=contents.trail[:-1]), case.key)


def test_task_events_changed_after_the_run_are_not_exported(case: Case, tmp_path: Path) -> None:
    contents = case.contents()
    contents.tasks[0].source.write_bytes(b"other")
    with pytest.raises(EvidenceRefused, match="changed after the run"):
        write_bundle(tmp_path / "b.tar.gz", contents, case.key)
    assert not (tmp_path / "b.tar.gz").exists()


# The live database.


def test_live_trail_is_whole_until_somebody_edits_it(case: Case) -> None:
    trail = list(case.contents().trail)
    assert verify_trail(CHANGE, trail).standing is Standing.VERIFIED
    trail[3] = replace(trail[3], actor="ben")
    assert "event 4 (staged) was changed" in verify_trail(CHANGE, trail).findings[0].message
    assert "belongs to chain" in verify_trail("site", trail[:2]).findings[0].message


def test_live_checkpoint_is_held_against_heads_and_predecessor(site: Site) -> None:
    heads = [Head("site", 3, "ab" * 32), Head(CHANGE, 2, "cd" * 32)]
    first = canonical(next_checkpoint(heads, at=DAY, previous=None))
    document = canonical(next_checkpoint(heads, at=START, previous=first))
    pins, signature = read_pins([site.public]), site.key.sign(document)
    assert verify_checkpoint(document, signature, pins=pins, heads=heads, previous=first).standing == "verified"
    assert verify_checkpoint(document, signature, pins=read_pins(), heads=heads).standing is Standing.SIGNER_UNKNOWN
    for wrong in (
        verify_checkpoint(document, site.key.sign(first), pins=pins),
        verify_checkpoint(document, signature, pins=pins, heads=heads[:1]),
        verify_checkpoint(document, signature, pins=pins, previous=document),
        verify_checkpoint(b"{}", signature, pins=pins),
    ):
        assert wrong.standing is Standing.REFUSED


# Both verifiers, on whatever chance comes up with.


#: Documents over which most rules are.
RULED = ("approvals.json", "journal.jsonl", "people.json", "population.json", "request.json", "trail.jsonl")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def mutate(said: dict[str, Any], rng: random.Random) -> str:
    """Change one value somewhere: away, another kind, slightly different, or one found elsewhere in the bundle."""
    name = rng.choice([*sorted(said), *RULED, *RULED])
    path = rng.choice([(name, *path) for path in places(said[name])])
    holder, key = at(said, path[:-1]), path[-1]
    old = holder[key]
    elsewhere = rng.choice(sorted(said))
    donor = at(said[elsewhere], rng.choice(list(places(said[elsewhere]))))
    nearly = {str: f"{old}x", int: 1 - old if isinstance(old, int) else 0}.get(type(old), [old])
    new = rng.choice([None, True, 0, "", [], {}, -1, "ben", "2026-11-20T22:00:00.5Z", nearly, nearly, donor, donor])
    if rng.random() < 0.2 and len(path) > 1:
        del holder[key]
    elif rng.random() < 0.2 and isinstance(holder, list):
        holder.insert(rng.randrange(len(holder) + 1), json.loads(json.dumps(old)))
    else:
        holder[key] = json.loads(json.dumps(new))
    return f"{path}: {str(old)[:40]!r} -> {str(new)[:40]!r}"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), reseal=st.sampled_from(["nothing", "manifest", "everything", "everything"]))
def test_both_verifiers_agree_on_what_chance_does_to_a_bundle(
    site: Site, tmp_path: Path, seed: int, reseal: str
) -> None:
    loose, rng = site.loose.copy(), random.Random(seed)
    for _ in range(rng.choice([1, 1, 2])):
        mutate(loose.said, rng)
    try:
        if reseal == "everything":
            loose.chain_anew(site.key)
        if reseal != "nothing":
            loose.list_anew(site.key)
        bundle = loose.pack(tmp_path / "b.tar.gz")
    except (TypeError, AttributeError, KeyError, IndexError, ValueError):
        return  # Nothing that could be sealed again.
    both(bundle, site.public)


@pytest.mark.parametrize("value", [None, True, 0, "", [], {}])
def test_both_verifiers_refuse_whatever_is_of_another_kind(site: Site, tmp_path: Path, value: Plain) -> None:
    """Each word of the manifest, and each document as a whole: what is in those is left to chance, above."""
    for path in places(site.loose.said["manifest.json"], ("manifest.json",)):
        forged = site.loose.copy()
        at(forged.said, path[:-1])[path[-1]] = value
        bundle = forged.sign_anew(site.key).pack(tmp_path / "b.tar.gz")
        assert both(bundle, site.public).standing is Standing.REFUSED, path
    for name in sorted(site.loose.said.keys() - {"manifest.json", "manifest.sig"}):
        if value != [] and name.endswith(".jsonl"):
            continue
        forged = site.loose.copy()
        forged.said[name] = value
        bundle = forged.list_anew(site.key).pack(tmp_path / "b.tar.gz")
        assert both(bundle, site.public).standing is Standing.REFUSED, name


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.integers(0, 2**20), bit=st.integers(0, 7))
def test_both_verifiers_agree_on_every_flipped_bit(site: Site, tmp_path: Path, where: int, bit: int) -> None:
    raw = bytearray(site.bundle.read_bytes())
    raw[where % len(raw)] ^= 1 << bit
    (tmp_path / "b.tar.gz").write_bytes(raw)
    verdict = both(tmp_path / "b.tar.gz", site.public)
    # Some bits of a gzip stream mean nothing; then the content is the one that was signed.
    assert verdict.standing is Standing.REFUSED or Loose.of(tmp_path / "b.tar.gz").raw() == site.loose.raw()


def test_digest_of_the_plan_is_that_of_its_file(site: Site) -> None:
    assert digest(site.loose.said["plan.json"]) == site.loose.said["manifest.json"]["plan_digest"]
