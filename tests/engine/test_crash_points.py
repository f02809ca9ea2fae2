"""``kill -9`` at every write and every start of a run: whoever comes next goes on, and no host is worked on twice.

With ``CRASH_EVERYWHERE=1``, before a release, in each scenario that passes a place, and one kill in each play.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.adapters.store import open_database, open_for_engine, upgrade
from orchestrator.adapters.store.tables import metadata
from orchestrator.domain.audit import broken_at
from orchestrator.domain.change import ChangeSpec, ChangeState
from orchestrator.domain.rollout import Amount, OnTrip, RolloutPolicy
from orchestrator.engine import durable
from tests.engine.zygote import KILLED, place
from tests.fakes.machines import Fault
from tests.fakes.site import FakeSite
from tests.fakes.values import NEW, OLD, spec
from tests.fakes.world import load, save
from tests.postgres import Server

ROOT = Path(__file__).parents[2]
#: Hosts of production.
WEB = 2
ONE_BY_ONE = spec(rollout=RolloutPolicy(wave=Amount(value=1)))
EVERYWHERE = "CRASH_EVERYWHERE" in os.environ
#: So often is somebody killed in one play: a kill costs a start then, and not a play of its own.
KILLS = 1 if EVERYWHERE else 12
#: The moment of a run at which it is killed, counted whatever it is.
IN_THE_MIDDLE = {"": 41}
#: Seconds between two looks at what stands in line.
POLL = 0.05
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Scenario:
    """What is carried: from a state, by an act, to where it has to end however often somebody is killed."""

    name: str
    begins: ChangeState
    act: str
    ends: ChangeState
    version: str
    begun: tuple[int, ...]
    prepare: Callable[[FakeSite], object]


def asked_for(site: FakeSite) -> None:
    site.submit(ONE_BY_ONE)
    site.content.freeze(site.content.read())  # It is on disk, where a kill does not reach it.


def ready(site: FakeSite, of: ChangeSpec = ONE_BY_ONE) -> None:
    site.scheduled(of)
    site.clock.at = site.change.reserved.start


def ready_to_be_asked(site: FakeSite) -> None:
    """A canary that soaks, and whose patch ends without anybody seeing it: the host has to be asked."""
    site.runner.dies("w1.b1.patch")
    ready(site, replace(ONE_BY_ONE, rollout=replace(ONE_BY_ONE.rollout, canary=Amount(value=1), soak=MINUTE)))


def ready_to_fail(site: FakeSite, on_trip: OnTrip) -> None:
    site.machines["web2"].suffers("patch.yml", Fault.FAILS_HALF_WAY)
    ready(site, replace(ONE_BY_ONE, rollout=replace(ONE_BY_ONE.rollout, on_trip=on_trip)))


SCENARIOS = (
    Scenario("staging", ChangeState.REQUESTED, "stage_now", ChangeState.STAGED, OLD, (0, 0), asked_for),
    Scenario("run", ChangeState.SCHEDULED, "start", ChangeState.SUCCEEDED, NEW, (1, 1), ready_to_be_asked),
    Scenario(
        "run that is put back", ChangeState.SCHEDULED, "start", ChangeState.ROLLED_BACK, OLD, (1, 1),
        partial(ready_to_fail, on_trip=OnTrip.ALL),
    ),
)  # fmt: skip


@pytest.fixture(scope="session")
def zygote() -> Iterator[Callable[..., int]]:
    """Give what starts a process that carries, and returns its exit code."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.engine.zygote"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout

    def start(**asked: object) -> int:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    with process:
        yield start
        process.stdin.close()


@dataclass(frozen=True)
class Stage:
    """A scenario, ready to be played from its beginning as often as is wanted: on SQLite, or on PostgreSQL."""

    scenario: Scenario
    change: str
    begun: Path
    server: Server | None
    template: str
    zygote: Callable[..., int]

    @contextmanager
    def play(
        self,
        folder: Path,
        kills: Mapping[str, int] | None = None,
        *,
        between: Callable[[str], object] = lambda url: None,
        **then: str,
    ) -> Iterator[Ended]:
        """Play it to its end, with a kill at each of these places; somebody else goes on, who may differ."""
        folder.mkdir()
        shutil.copy(self.begun / "world", folder)
        url, left = self._copy(folder), dict(kills or {})
        code = self._carry(url, folder, left)
        while left:
            assert code == KILLED, f"nobody was killed at {left}"
            died_at = place(_passed(folder)[-1])
            del left[died_at if died_at in left else ""]
            between(url)
            code = self._carry(url, folder, left, **then)
        assert code == 0
        with closing(open_database(url)) as database:
            site = FakeSite(database, folder, web=WEB)
            load(site, folder / "world")
            site.id = self.change
            yield Ended(site=site, passed=_passed(folder))

    def _carry(self, url: str, folder: Path, kills: Mapping[str, int], **more: str) -> int:
        told = self.scenario
        return self.zygote(
            url=url, folder=str(folder), kills=kills, change=self.change, web=WEB, act=told.act,
            **{"from": told.begins.value}, **more,
        )  # fmt: skip

    def _copy(self, folder: Path) -> str:
        if self.server is None:
            shutil.copy(self.begun / "site.db", folder)
            return f"sqlite:///{folder / 'site.db'}"
        return self.server.url(self.server.new_database(like=self.template))


def _passed(folder: Path) -> tuple[str, ...]:
    return tuple((folder / "passed").read_text().splitlines())


@dataclass(frozen=True)
class Ended:
    """What is left when it has ended, and the moments that were passed on the way."""

    site: FakeSite
    passed: tuple[str, ...]

    def is_whole(self, scenario: Scenario) -> None:
        """Check that it ended where it has to, with nothing done twice and nothing left out."""
        site = self.site
        assert site.change.state is scenario.ends, site.why()
        assert broken_at(site.trail) == ""
        assert [machine.begun("patch") for machine in site.production.values()] == list(scenario.begun)
        assert {machine.version for machine in site.production.values()} == {scenario.version}
        assert {machine.claim for machine in site.machines.values()} == {""}
        assert {machine.patched_in_service for machine in site.machines.values()} == {0}
        assert all(machine.in_service for machine in site.machines.values())
        assert not any(run.drained for run in site.runs.values())
        assert all(run.status.is_settled for run in site.runs.values())
        # A staging host belongs to the change that it proved, until that has ended.
        assert {lease.host for lease in site.store.leases()} <= {"stage1"}
        begun = [(step.host, step.job) for step in site.store.steps(site.id)]
        assert len(begun) == len(set(begun))
        assert all(step.finished_at for step in site.store.steps(site.id))


def made(scenario: Scenario, folder: Path, server: Server | None, zygote: Callable[..., int]) -> Stage:
    """Take a change to where the scenario begins, and keep that."""
    folder.mkdir(parents=True)
    template = server.new_database() if server else ""
    url = server.url(template) if server else f"sqlite:///{folder / 'site.db'}"
    upgrade(url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durable, "POLL", POLL)
        durable.prepare(url)
    database = open_database(url)
    site = FakeSite(database, folder, web=WEB)
    for name in site.machines:
        site.inventory.change(name, lambda host: replace(host, drain="site.web.drain"))
    scenario.prepare(site)
    save(site, folder / "world")
    database.close()
    return Stage(scenario, site.id, folder, server, template, zygote)


@dataclass(frozen=True)
class Told:
    """A stage, and the moments that are passed when nobody is killed."""

    stage: Stage
    passed: tuple[str, ...]


@pytest.fixture(scope="module", params=[True, False], ids=["SQLite", "PostgreSQL"])
def told(
    request: pytest.FixtureRequest,
    server: Server,
    zygote: Callable[..., int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Sequence[Told]:
    """Play every scenario to its end with nobody killed, and keep what was passed."""
    found = []
    for scenario in SCENARIOS:
        folder = tmp_path_factory.mktemp("scenario")
        stage = made(scenario, folder / "begun", None if request.param else server, zygote)
        with stage.play(folder / "whole") as whole:
            whole.is_whole(scenario)
            found.append(Told(stage, whole.passed))
    return found


def moments(told: Sequence[Told]) -> Mapping[tuple[str, str], tuple[Scenario, int]]:
    """Return for each place in the code the scenario, and at which of its passings there somebody is killed.

    It is passed in several scenarios, and often in each: taken is where it is passed first of all, and on the other
    database where it is passed last.
    """
    is_single = told[0].stage.server is None
    found = {}
    for one in reversed(told) if is_single else told:
        scenario = one.stage.scenario
        for where, times in Counter(map(place, one.passed)).items():
            found[where, scenario.name if EVERYWHERE else ""] = (scenario, 1 if is_single else times)
    return found


@pytest.fixture
def every_stage(tmp_path: Path, zygote: Callable[..., int]) -> list[Stage]:
    return [made(one, tmp_path / one.act / str(at), None, zygote) for at, one in enumerate(SCENARIOS)]


@pytest.mark.postgres
@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_killed_anywhere_it_ends_as_it_would_have(scenario: Scenario, told: Sequence[Told], tmp_path: Path) -> None:
    (stage,) = [one.stage for one in told if one.stage.scenario is scenario]
    mine = [(where, nth) for (where, _), (within, nth) in moments(told).items() if within is scenario]
    plays = -(-len(mine) // KILLS)
    for number in range(plays):
        kills = dict(mine[number::plays])  # Far from each other: between two of them somebody gets on.
        with stage.play(tmp_path / f"play{number}", kills) as ended:
            try:
                ended.is_whole(scenario)
            except AssertionError as error:
                raise AssertionError(f"killed at {kills}: {error}") from error


@pytest.fixture
def run(tmp_path: Path, zygote: Callable[..., int]) -> Stage:
    return made(SCENARIOS[1], tmp_path / "begun", None, zygote)


def test_engine_whose_tables_are_gone_finds_every_open_change(run: Stage, tmp_path: Path) -> None:
    def forget(url: str) -> None:
        engine = open_for_engine(url)
        with engine.begin() as connection:
            names = connection.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars()
            for name in {*names} - {*metadata.tables, "alembic_version", "sqlite_sequence"}:
                connection.execute(sa.text(f'DROP TABLE "{name}"'))
        engine.dispose()

    with run.play(tmp_path / "forgotten", IN_THE_MIDDLE, between=forget) as ended:
        ended.is_whole(run.scenario)


def test_program_of_another_shape_goes_on_from_the_journal(run: Stage, tmp_path: Path) -> None:
    with run.play(tmp_path / "upgraded", IN_THE_MIDDLE, shape="next") as ended:
        ended.is_whole(run.scenario)


def test_nothing_in_the_database_is_pickled(run: Stage, tmp_path: Path) -> None:
    with run.play(tmp_path / "whole"), closing(sqlite3.connect(tmp_path / "whole/site.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        values = [value for name in tables for row in database.execute(f'SELECT * FROM "{name}"') for value in row]
    assert any("portable_json" in str(value) for value in values)
    assert not [value for value in values if isinstance(value, str) and value.startswith("gAS")]
    assert not [value for value in values if isinstance(value, bytes) and value.startswith(b"\x80")]


def test_every_write_of_the_flow_is_a_moment_at_which_somebody_is_killed(
    every_stage: Sequence[Stage], tmp_path: Path
) -> None:
    passed = set()
    for at, stage in enumerate(every_stage):
        with stage.play(tmp_path / str(at)) as ended:
            passed |= {place(moment).removeprefix("within ") for moment in ended.passed}
    missing = set(writing_functions()) - passed - BY_HAND.keys()
    assert not missing, "a new write needs a scenario that passes it"


#: Written by a person's command in one transaction: killed within it, the command has not happened.
BY_HAND = {
    "flow.approving._enter": "change approve, reject and waive",
    "flow.closing._batch": "change close, rollback-point release",
    "flow.closing.give_up_points": "change close, rollback-point release",
    "flow.closing._mark_released": "change close, rollback-point release",
    "flow.evidencing.sign_heads": "audit checkpoint, evidence export, backup create",
    "flow.housekeeping._say_what_goes": "housekeeping",
    "flow.intake.submit": "change submit",
    "flow.lockdown._write": "lockdown begin and lift",
    "flow.sticking.take_up": "change resume",
    "flow.tending.adopt": "host adopt",
    "flow.tending.reconcile_by_hand": "host reconcile",
}


def writing_functions() -> Iterator[str]:
    """Find the functions of the flow that open a transaction; the ledger opens them for others."""
    for file in sorted({*(ROOT / "orchestrator/flow").glob("*.py")} - {ROOT / "orchestrator/flow/ledger.py"}):
        for function in ast.walk(ast.parse(file.read_text())):
            if isinstance(function, ast.FunctionDef) and any(map(_begins, ast.walk(function))):
                yield f"flow.{file.stem}.{function.name}"


def _begins(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).endswith("store.begin")
