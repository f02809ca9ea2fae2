"""A site's snapshot tool, run by command lines."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.adapters.rollback.command import CommandProvider, command_provider, label
from orchestrator.adapters.rollback.command_config import CommandConfig, CommandLine, read_config
from orchestrator.domain.inventory import Connection, Environment, Host
from orchestrator.domain.rollback import PointTaken, RollbackClass, RollbackPoint
from orchestrator.errors import InvalidInput
from orchestrator.ports import Occasion, Subject
from tests.processes import lives
from tests.waiting import until

NOW = datetime(2026, 11, 20, 22, tzinfo=UTC)
OCCASION = Occasion(
    change="CHG-0001", environment=Environment.PRODUCTION, content="0" * 64, job="CHG-0001.b1.take-lab", expires_at=NOW
)
NOTHING: CommandLine = ("true",)


def host(name: str = "web1.example.org", address: str = "192.0.2.1") -> Host:
    return Host(name=name, connection=Connection(address=address))


def provider(
    take: CommandLine = NOTHING, restore: CommandLine = NOTHING, timeout: int = 20, parallel: int = 4
) -> CommandProvider:
    config = CommandConfig(take=take, restore=restore, release=NOTHING, timeout=timeout, parallel=parallel)
    return CommandProvider(name="lab", config=config, now=lambda: NOW)


def take(provider: CommandProvider, *hosts: Host) -> list[PointTaken]:
    subjects = [Subject(host=one, patch_job={}) for one in hosts or (host(),)]
    return list(provider.take(subjects, OCCASION))


def test_each_word_is_filled_and_stays_one_word(tmp_path: Path) -> None:
    out = tmp_path / "said"
    script = 'out=$1; shift; printf "%s\\n" "$@" > "$out"'
    line = ("sh", "-c", script, "-", str(out), "{host} at {address}", "--label={label}", "{change}", "$HOME; {x y}")
    assert take(provider(take=line), host("web 1", "192.0.2.1"))[0].problem == ""
    expected = ["web 1 at 192.0.2.1", f"--label={label('CHG-0001', 'web 1')}", "CHG-0001", "$HOME; {x y}"]
    assert out.read_text().splitlines() == expected


def test_point_remembers_its_label_and_class() -> None:
    point = take(provider())[0].point
    assert point is not None
    assert point.rollback_class is RollbackClass.EXACT
    assert point.reference == {"label": label("CHG-0001", "web1.example.org"), "address": "192.0.2.1"}
    assert point.taken_at == NOW


def test_restore_uses_the_label_that_was_written_down(tmp_path: Path) -> None:
    point = RollbackPoint(
        change="CHG-0001", host="web1", provider="lab", rollback_class=RollbackClass.EXACT,
        reference={"label": "by-hand", "address": "192.0.2.9"}, taken_at=NOW, expires_at=NOW,
    )  # fmt: skip
    out = tmp_path / "said"
    tool = provider(restore=("sh", "-c", 'echo "$1 $2" > "$3"', "-", "{label}", "{address}", str(out)))
    assert tool.restore([point], [], OCCASION)[0].restored
    assert out.read_text() == "by-hand 192.0.2.9\n"


def test_failure_tells_the_command_and_what_it_said() -> None:
    problem = take(provider(take=("sh", "-c", "echo no space left in pool >&2; exit 7")))[0].problem
    assert "ended with 7: no space left in pool" in problem


def test_program_that_is_not_there_is_named() -> None:
    assert "/no/such/tool could not be started" in take(provider(take=("/no/such/tool",)))[0].problem


def test_command_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    line = ("sh", "-c", f"sleep 60 & echo $! > {child}; wait")
    problem = take(provider(take=line, timeout=1))[0].problem
    assert "did not end within 1 s" in problem
    assert f"snapshot {label('CHG-0001', 'web1.example.org')}" in problem
    until(lambda: not lives(int(child.read_text())))


def test_what_the_tool_leaves_running_does_not_hold_us_up(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    begun = time.monotonic()
    assert take(provider(take=("sh", "-c", f"setsid sleep 20 & echo $! > {pid}")))[0].problem == ""
    assert time.monotonic() - begun < 10
    os.kill(int(pid.read_text()), 15)


def test_hosts_are_worked_on_side_by_side_within_the_limit(tmp_path: Path) -> None:
    script = (
        "import os, sys, time\n"
        "folder, host = sys.argv[1:]; os.chdir(folder)\n"
        "open(host + '.on', 'w').close(); time.sleep(0.5)\n"
        "n = sum(name.endswith('.on') for name in os.listdir())\n"
        "open(host + '.saw', 'w').write(str(n)); os.remove(host + '.on')\n"
    )
    line = (sys.executable, "-c", script, str(tmp_path), "{host}")
    take(provider(take=line, parallel=2), *(host(f"h{number}") for number in range(4)))
    seen = [int(file.read_text()) for file in tmp_path.glob("*.saw")]
    assert len(seen) == 4
    assert max(seen) <= 2


@pytest.mark.parametrize("odd", [host("-rf"), host("web1", "--all")])
def test_host_that_looks_like_an_option_is_refused(odd: Host) -> None:
    assert "would be taken for an option" in take(provider(), odd)[0].problem


def test_labels_are_safe_and_never_shared() -> None:
    names = ["web1", "web1.example.org", "web1-example-org", "web/1", "ünï", "x" * 200, "x" * 201]
    labels = [label("CHG-0001", name) for name in names]
    assert len(set(labels)) == len(names)
    assert all(set(one) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") for one in labels)
    assert max(map(len, labels)) < 80
    assert labels[0] == "CHG-0001-web1"


def test_line_for_a_person_is_the_one_that_restores() -> None:
    tool = provider(restore=("virsh", "snapshot-revert", "{host}", "{label}"))
    assert tool.restore_line(host("web1"), "CHG-0001") == ("virsh", "snapshot-revert", "web1", "CHG-0001-web1")


def test_settings_make_a_provider() -> None:
    options = {"take": ["a"], "restore": ["b", "{host}"], "release": ["c"], "rollback_class": "package", "timeout": 5}
    made = command_provider("lab", options)
    assert (made.name, made.rollback_class, made.config.timeout) == ("lab", RollbackClass.PACKAGE, 5)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "take: is missing"),
        ({"take": "virsh snapshot"}, "take: is no list of words"),
        ({"take": ["a", "{hostname}"]}, r"\{hostname\} is no placeholder"),
        ({"snapshot": ["a"]}, "snapshot: is not known here"),
        ({"timeout": "long"}, "timeout: 'long' is no whole number"),
        ({"timeout": 0}, "timeout: 0 is too small"),
        ({"rollback_class": "perfect"}, "'perfect' is none of exact, package, none"),
    ],
)
def test_setting_that_cannot_be_used_is_named(options: dict[str, object], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        read_config({"take": ["a"], "restore": ["b"], "release": ["c"], **options} if options else {})
