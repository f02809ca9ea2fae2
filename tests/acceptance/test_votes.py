"""Who may say yes to what: each refusal is one sentence, and changes nothing but the trail."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.change import ChangeState
from tests.acceptance.conftest import Web
from tests.acceptance.site import Done, Site

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("acceptance-web")]

CHANGE = "CHG-0001"


@pytest.fixture
def site(web: Web, tmp_path: Path) -> Site:
    return web.staged.copy(tmp_path)


def vote(site: Site, *, by: str, code: int, plan: str = "", reason: str = "Read and understood.") -> Done:
    shown = plan or site.change(CHANGE).digest[:12]
    words = ("change", "approve", CHANGE, "--reason", reason, "--plan", shown, "--key", str(site.keys / by))
    return site.give(*words, code=code)


def test_votes_that_do_not_count_are_refused_and_the_change_stays_staged(site: Site) -> None:
    before = site.change(CHANGE)
    assert "nobody approves their own request" in vote(site, by="rae", code=4).err
    assert "own request" in site.told(CHANGE, "vote-refused")
    assert "belongs to nobody in people.yml" in vote(site, by="stranger", code=5).err
    assert "you are answering plan 000000000000" in vote(site, by="cora", plan="0" * 12, code=4).err
    assert "8 or more digits" in vote(site, by="cora", plan=before.digest[:6], code=2).err
    assert "needs a reason" in vote(site, by="cora", reason=" ", code=4).err
    assert site.change(CHANGE) == before


def test_a_vote_is_given_once(site: Site) -> None:
    assert "cora has voted to approve" in vote(site, by="cora", code=0).out
    assert site.is_in(CHANGE, ChangeState.APPROVED)
    plan = site.change(CHANGE).digest[:12]
    assert "cannot happen now" in vote(site, by="cora", plan=plan, code=4).err
    assert site.tags(CHANGE).count("voted") == 1


def test_one_veto_ends_it(site: Site) -> None:
    shown, key = site.change(CHANGE).digest[:12], str(site.keys / "cora")
    site.give("change", "reject", CHANGE, "--reason", "Not this month.", "--plan", shown, "--key", key)
    assert site.is_in(CHANGE, ChangeState.REJECTED)
    assert "Not this month." in site.told(CHANGE, "rejected")
    assert "cannot happen now" in site.give("change", "schedule", CHANGE, "--yes", code=4).err
