"""A shop behind a real HAProxy: its web hosts are patched and put back one after the other, and no customer notices."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from lab.packages import SERVICE_PORT, Package
from orchestrator.domain.change import ChangeState
from orchestrator.domain.journal import Step
from tests.acceptance.machines import Park
from tests.acceptance.site import Site

pytestmark = pytest.mark.lab

SHOP = ("w1", "w2")
PORT = 8000
#: Nothing is tried a second time: a request that meets a web host without its service fails.
CONFIGURATION = """
global
  stats socket /run/haproxy/admin.sock mode 660 level admin
defaults
  mode http
  retries 0
  timeout connect 2s
  timeout client 10s
  timeout server 10s
frontend shop
  bind :{port}
  http-response set-header X-Server %s
  default_backend shop
backend shop
  balance roundrobin
  option httpchk GET /health
  server w1 {w1}:{service} check inter 500
  server w2 {w2}:{service} check inter 500
backend staging
  option httpchk GET /health
  server s1 {s1}:{service} check inter 500
"""
DRAINED = {"patch_drain": "patch_drain_haproxy", "patch_drain_haproxy_balancers": ["lb"]}


class Customers:
    """Ask for the shop's page again and again, and remember who answered when; "" where nobody did."""

    def __init__(self, address: str) -> None:
        self.answers: list[tuple[float, str]] = []
        self._url = f"http://{address}:{PORT}/"

    @contextmanager
    def shopping(self) -> Iterator[None]:
        over = Event()

        def shop() -> None:
            while not over.wait(0.1):
                self.answers.append((time.time(), self._ask()))

        thread = Thread(target=shop)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _ask(self) -> str:
        try:
            with urlopen(self._url, timeout=10) as answer:
                return str(answer.headers["X-Server"])
        except (URLError, OSError):
            return ""


@pytest.fixture(scope="module")
def site(park: Park, tmp_path_factory: pytest.TempPathFactory) -> Site:
    park.lab.repository.publish(Package(name="labapp", version="1.0"))
    park.up("s1", *SHOP, packages=("labapp",))
    # Debian's own package, which the lab's cache keeps.
    park.up("lb", packages=("haproxy",), no_archive=False)
    addresses = {name: park[name].address for name in ("s1", *SHOP)}
    configuration = CONFIGURATION.format(port=PORT, service=SERVICE_PORT, **addresses)
    park["lb"].run("sh", "-ec", f"cat >/etc/haproxy/haproxy.cfg <<'END'{configuration}END\nsystemctl restart haproxy")
    park.lab.repository.publish(Package(name="labapp", version="1.1"))
    site = Site.found(tmp_path_factory.mktemp("shop"))
    staging = {**DRAINED, "patch_drain_haproxy_backend": "staging", "patch_drain_haproxy_others": 0}
    shop = {**DRAINED, "patch_drain_haproxy_backend": "shop", "patch_cluster": "shop"}
    site.inventory("staging", park.lab, {"s1": staging, "lb": {}})
    site.inventory("production", park.lab, {**dict.fromkeys(SHOP, shop), "lb": {}})
    return site


def test_no_request_fails_while_both_web_hosts_are_patched_and_put_back(site: Site, park: Park) -> None:
    request = {"production": "web:!lb", "staging": "s1", "one_at_a_time_per": "cluster"}
    change = site.scheduled(request)
    shown = site.give("change", "plan", change).out
    assert "one at a time per cluster" in shown
    assert "w1, w2 by patch_drain_haproxy" in shown
    customers = Customers(park["lb"].address)
    with customers.shopping():
        ended = site.run(change)
        assert ended.state is ChangeState.SUCCEEDED, ended.issues
        assert {name: park[name].version("labapp") for name in SHOP} == {"w1": "1.1", "w2": "1.1"}
        site.give("change", "rollback", change, "--reason", "Back to what it was.", "--yes")
        assert site.ended(change).state is ChangeState.ROLLED_BACK
    assert {name: park[name].version("labapp") for name in SHOP} == {"w1": "1.0", "w2": "1.0"}
    assert len(customers.answers) > 50
    assert [at for at, server in customers.answers if not server] == []
    worked_on = [step for step in site.store.steps(change, SHOP) if step.step in (Step.PATCH, Step.RESTORE)]
    assert [(step.host, step.step) for step in worked_on] == [
        ("w1", Step.PATCH), ("w2", Step.PATCH), ("w2", Step.RESTORE), ("w1", Step.RESTORE),
    ]  # fmt: skip
    for step in worked_on:
        assert step.finished_at is not None
        during = (step.started_at.timestamp(), step.finished_at.timestamp())
        served = {server for at, server in customers.answers if during[0] < at < during[1]}
        assert served == set(SHOP) - {step.host}, f"{step.step} of {step.host}"
    rehearsed = [step.step for step in site.store.steps(change, ["s1"]) if step.step in (Step.DRAIN, Step.UNDRAIN)]
    assert rehearsed == [Step.DRAIN, Step.UNDRAIN] * 3
    states = park["lb"].run("python3", "-c", ASK).split()
    assert states == ["s1=UP", "w1=UP", "w2=UP"]


#: Asks HAProxy itself how its servers stand.
ASK = """
import csv, socket
connection = socket.socket(socket.AF_UNIX)
connection.connect("/run/haproxy/admin.sock")
connection.sendall(b"show stat\\n")
rows = csv.DictReader(connection.makefile())
print(*sorted(f"{row['svname']}={row['status']}" for row in rows if row["svname"] in ("s1", "w1", "w2")))
"""
