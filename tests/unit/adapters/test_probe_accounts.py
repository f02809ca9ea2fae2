"""One host tries an account's password before any other does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.adapters.probes.accounts import MEMORY, Accounts, AlreadyIn, Memory, Refused
from orchestrator.adapters.probes.stages import Deadline, StageFailed
from orchestrator.domain.inventory import Secret
from orchestrator.domain.probe import Stage
from tests.waiting import until

PASSWORD = Secret("correct horse")


class Hosts:
    """Hosts that log in side by side, and remember who was shown the password."""

    def __init__(self, accounts: Accounts, *, timeout: float = 3.0) -> None:
        self.accounts, self.timeout = accounts, timeout
        self.shown: list[str] = []
        self.at_once = 0

    def log_in(self, name: str, answer: Callable[[], None], user: str = "patch", password: Secret = PASSWORD) -> str:
        """Return what came of it."""
        try:
            with self.accounts.trying(user, password, name, Deadline(self.timeout)):
                self.shown.append(name)
                answer()
        except StageFailed as failed:
            return failed.detail
        except AlreadyIn:
            return "already in"
        return "in"

    def all(self, answer: Callable[[], None], count: int = 20) -> list[str]:
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda number: self.log_in(f"win{number}", answer), range(count)))


def accept() -> None:
    """Take the password."""


def refuse() -> None:
    raise Refused(Stage.AUTHENTICATE, "patch was not let in")


def break_off() -> None:
    raise StageFailed(Stage.AUTHENTICATE, "the connection broke")


def test_wrong_password_is_shown_to_one_host_only() -> None:
    hosts = Hosts(Accounts(Memory()))
    told = hosts.all(refuse)
    assert len(hosts.shown) == 1
    assert sorted(set(told)) == [
        f"not tried: {hosts.shown[0]} was refused for the same account", "patch was not let in",
    ]  # fmt: skip


def test_the_others_wait_for_the_first_and_then_go_side_by_side() -> None:
    hosts, met = Hosts(Accounts(Memory())), threading.Barrier(19, timeout=3)

    def answer() -> None:
        if len(hosts.shown) == 1:
            time.sleep(0.2)
            assert len(hosts.shown) == 1, "somebody did not wait"
        else:
            met.wait()  # passes only when all the others are here at once

    assert hosts.all(answer) == ["in"] * 20


def test_another_password_or_account_is_a_try_of_its_own() -> None:
    hosts = Hosts(Accounts(Memory()))
    hosts.log_in("win1", refuse)
    assert hosts.log_in("win2", accept, password=Secret("another")) == "in"
    assert hosts.log_in("win3", accept, user="other") == "in"
    assert hosts.log_in("win4", accept, user="PATCH").startswith("not tried")


def test_a_host_that_leaves_it_open_lets_the_next_one_try() -> None:
    hosts = Hosts(Accounts(Memory()))
    assert hosts.log_in("win1", break_off) == "the connection broke"
    assert hosts.log_in("win2", accept) == "in"


def test_after_two_that_left_it_open_nobody_tries() -> None:
    hosts = Hosts(Accounts(Memory()))
    told = hosts.all(break_off)
    assert len(hosts.shown) == 2
    assert sum("left it open whether they took the same account" in one for one in told) == 18


def test_a_host_that_hangs_keeps_the_others_for_a_part_of_their_time_only() -> None:
    hosts, over = Hosts(Accounts(Memory()), timeout=3.0), threading.Event()
    hang = threading.Thread(target=hosts.log_in, args=("win1", over.wait))
    hang.start()
    until(lambda: hosts.shown)
    began = time.monotonic()
    assert hosts.log_in("win2", accept) == "in"
    assert time.monotonic() - began < 2.5
    over.set()
    hang.join()


def test_refusal_is_remembered_for_later_looks_and_forgotten_in_time() -> None:
    now = [0.0]
    memory = Memory(lambda: now[0])
    Hosts(Accounts(memory)).log_in("win1", refuse)
    now[0] = 3.0
    later = Hosts(Accounts(memory))
    assert later.log_in("win1", accept).startswith("not tried: win1 was refused for the same account 3 s ago")
    assert later.shown == []
    now[0] = 3.0 + MEMORY
    assert Hosts(Accounts(memory)).log_in("win1", accept) == "in"


def test_one_odd_host_speaks_for_itself_alone_where_others_took_the_password() -> None:
    memory = Memory()
    first = Hosts(Accounts(memory))
    assert first.log_in("win1", accept) == "in"
    assert first.log_in("win7", refuse) == "patch was not let in"
    assert first.log_in("win2", accept) == "in"
    later = Hosts(Accounts(memory))
    assert later.log_in("win7", accept).startswith("not tried: win7 was refused")
    assert [later.log_in(name, accept) for name in ("win1", "win2")] == ["in", "in"]


def test_looks_side_by_side_heed_each_others_refusals() -> None:
    memory = Memory()
    one, other = Hosts(Accounts(memory)), Hosts(Accounts(memory))
    assert other.log_in("win1", break_off) == "the connection broke"
    assert one.log_in("win2", refuse) == "patch was not let in"
    assert other.log_in("win3", accept).startswith("not tried: win2 was refused")


def test_knocking_logs_in_to_one_host() -> None:
    hosts = Hosts(Accounts(Memory(), is_knock=True))
    assert sorted(hosts.all(accept)) == ["already in"] * 19 + ["in"]
    assert len(hosts.shown) == 1


def test_memory_holds_no_password() -> None:
    memory = Memory()
    with pytest.raises(StageFailed), Accounts(memory).trying("patch", PASSWORD, "win1", Deadline(1)):
        refuse()
    assert "correct horse" not in repr(vars(memory))
