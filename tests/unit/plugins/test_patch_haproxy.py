"""A server of an HAProxy backend: when it may leave, when it is idle, and when it is back."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
_spec = importlib.util.spec_from_file_location("patch_haproxy", ROOT / "plugins/module_utils/patch_haproxy.py")
assert _spec is not None
assert _spec.loader is not None
haproxy: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(haproxy)

MAINTENANCE, DRAINED = 1, 8
#: The first words of what HAProxy 2.6 says; the others are of no concern here.
STATES = "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight"
FIGURES = "# pxname,svname,qcur,qmax,scur,smax,status,"


class FakeHaproxy:
    """A backend ``shop`` whose servers are name -> [operational state, administrative state, sessions]."""

    def __init__(self, **servers: list[int]) -> None:
        self.servers = servers
        self.commands: list[str] = []
        self.now = 0.0
        self.happens: dict[float, tuple[str, list[int]]] = {}

    def ask(self, command: str) -> str:
        if command == "show servers state shop":
            rows = [f"3 shop {n} {name} 10.0.0.{n} {s[0]} {s[1]} 1" for n, (name, s) in enumerate(self.servers.items())]
            return "\n".join(["1", STATES, *rows, ""])
        if command == "show stat":
            rows = [f"shop,{name},0,0,{s[2]},0,{self.status(s)}," for name, s in self.servers.items()]
            return "\n".join([FIGURES, "other,web1,0,0,99,0,UP,", *rows, "shop,BACKEND,0,0,7,0,UP,", ""])
        if command.startswith("show servers state"):
            return "Can't find backend.\n"
        self.commands.append(command)
        _, _, where, _, state = command.split()
        name = where.removeprefix("shop/")
        self.servers[name][1] = {"drain": DRAINED, "ready": 0}[state]
        return "\n"

    def status(self, server: list[int]) -> str:
        if server[1] & MAINTENANCE:
            return "MAINT"
        return "DOWN" if server[0] != 2 else "DRAIN" if server[1] else "UP"

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for at in [at for at in self.happens if at <= self.now]:
            name, state = self.happens.pop(at)
            self.servers[name] = state

    def balancer(self, backend: str = "shop") -> Any:
        return haproxy.Balancer(self.ask, backend, clock=lambda: self.now, sleep=self.sleep)


@pytest.fixture
def shop() -> FakeHaproxy:
    return FakeHaproxy(web1=[2, 0, 3], web2=[2, 0, 4])


def test_server_is_drained_once(shop: FakeHaproxy) -> None:
    assert shop.balancer().drain("web1", 1)
    assert not shop.balancer().drain("web1", 1)
    assert shop.commands == ["set server shop/web1 state drain"]


def test_server_is_ready_once(shop: FakeHaproxy) -> None:
    shop.balancer().drain("web1", 1)
    assert shop.balancer().ready("web1")
    assert not shop.balancer().ready("web1")
    assert shop.commands[1:] == ["set server shop/web1 state ready"]


@pytest.mark.parametrize("other", [[0, 0, 0], [2, DRAINED, 0], [0, MAINTENANCE, 0]])
def test_last_server_that_serves_may_not_leave(shop: FakeHaproxy, other: list[int]) -> None:
    shop.servers["web2"] = other
    with pytest.raises(haproxy.BalancerError, match=r"1 other servers have to serve, and 0 do \(none\)"):
        shop.balancer().drain("web1", 1)
    assert shop.commands == []
    assert shop.balancer().drain("web1", 0)


def test_server_that_somebody_took_out_by_hand_is_not_drained(shop: FakeHaproxy) -> None:
    shop.servers["web1"] = [0, MAINTENANCE, 0]
    with pytest.raises(haproxy.BalancerError, match="somebody has taken it out by hand"):
        shop.balancer().drain("web1", 1)


def test_server_that_is_down_is_not_drained(shop: FakeHaproxy) -> None:
    shop.servers["web1"] = [0, 0, 0]
    with pytest.raises(haproxy.BalancerError, match="web1 of shop is DOWN before anything was done to it"):
        shop.balancer().drain("web1", 1)


def test_drained_server_may_be_down(shop: FakeHaproxy) -> None:
    shop.servers["web1"] = [0, DRAINED, 0]
    assert not shop.balancer().drain("web1", 1)


def test_server_is_idle_when_its_last_session_has_ended(shop: FakeHaproxy) -> None:
    shop.balancer().drain("web1", 1)
    shop.happens = {3.0: ("web1", [2, DRAINED, 1]), 6.0: ("web1", [2, DRAINED, 0])}
    shop.balancer().wait_until_idle("web1", 60)
    assert shop.now == 6.0


def test_sessions_that_do_not_end_are_told(shop: FakeHaproxy) -> None:
    shop.balancer().drain("web1", 1)
    with pytest.raises(haproxy.BalancerError, match="5 s have passed, and it still has 3 sessions"):
        shop.balancer().wait_until_idle("web1", 5)


def test_server_that_somebody_puts_back_is_not_taken_for_idle(shop: FakeHaproxy) -> None:
    shop.servers["web1"] = [2, 0, 0]
    with pytest.raises(haproxy.BalancerError, match="somebody has put it back into service"):
        shop.balancer().wait_until_idle("web1", 5)


def test_server_is_up_when_its_check_passes(shop: FakeHaproxy) -> None:
    shop.servers["web1"] = [0, 0, 0]
    shop.happens = {2.0: ("web1", [2, 0, 0])}
    shop.balancer().wait_until_up("web1", 60)
    assert shop.now == 2.0


def test_server_that_does_not_come_up_is_told(shop: FakeHaproxy) -> None:
    shop.servers["web1"] = [0, 0, 0]
    with pytest.raises(haproxy.BalancerError, match="5 s have passed, and it is DOWN"):
        shop.balancer().wait_until_up("web1", 5)


def test_server_in_maintenance_is_left_so(shop: FakeHaproxy) -> None:
    shop.servers["web1"] = [0, MAINTENANCE, 0]
    with pytest.raises(haproxy.BalancerError, match="was put into maintenance meanwhile"):
        shop.balancer().ready("web1")
    assert shop.commands == []


def test_names_that_are_not_there_are_told(shop: FakeHaproxy) -> None:
    with pytest.raises(haproxy.BalancerError, match="no server 'web9'; it has: web1, web2"):
        shop.balancer().drain("web9", 1)
    with pytest.raises(haproxy.BalancerError, match="'shopp' was asked for, and HAProxy says: Can't find backend"):
        shop.balancer("shopp").drain("web1", 1)


def test_answer_of_haproxy_that_is_a_refusal_is_told(shop: FakeHaproxy) -> None:
    answer = shop.ask
    balancer = haproxy.Balancer(lambda c: "Permission denied\n" if c.startswith("set") else answer(c), "shop")
    with pytest.raises(haproxy.BalancerError, match="web1 of shop was to be drain, but: Permission denied"):
        balancer.drain("web1", 1)


def test_command_goes_over_the_socket_as_one_line(tmp_path: Path) -> None:
    path, heard = tmp_path / "admin.sock", list[bytes]()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                heard.append(connection.recv(1000))
                connection.sendall(b"x" * 100_000)

        thread = Thread(target=answer)
        thread.start()
        assert len(haproxy.asking(str(path))("show stat")) == 100_000
        thread.join()
    assert heard == [b"show stat\n"]


def test_socket_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(haproxy.BalancerError, match=r"level admin"):
        haproxy.asking(str(tmp_path / "none"))("show stat")


def test_name_cannot_smuggle_a_second_command() -> None:
    with pytest.raises(haproxy.BalancerError, match="no single command"):
        haproxy.asking("/nowhere")("set server shop/web1; shutdown sessions server shop/web1 state drain")
