"""What is read from a host and written to it besides packages: processes, ports, GRUB, rivals, detached acts."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.rpm_support import FakeShell, load
from tests.waiting import until

processes = load("processes")
sockets = load("sockets")
reboot = load("reboot")
rivals_module = load("rivals")
detached = load("detached")
units = load("units")
PatchError = load("errors").PatchError
Shell = load("shell").Shell

LIBRARY = "7f00-7f10 r-xp 00000000 08:01 {inode} /usr/lib/libssl.so.3 (deleted)\n"


def process(
    proc: Path, pid: int, comm: str, *, cgroup: str = "", maps: str = "", title: str = "", parent: int = 1
) -> None:
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "comm").write_text(f"{comm}\n")
    (folder / "cmdline").write_text(title or comm)
    (folder / "stat").write_text(f"{pid} ({comm}) S {parent} 0 0\n")
    (folder / "cgroup").write_text(f"0::{cgroup}\n")
    (folder / "maps").write_text(maps)


def test_service_on_a_replaced_library_is_found_with_its_unit(tmp_path: Path) -> None:
    process(tmp_path, 10, "nginx", cgroup="/system.slice/nginx.service", maps=LIBRARY.format(inode=77))
    process(tmp_path, 11, "fine", cgroup="/system.slice/fine.service", maps=LIBRARY.replace(" (deleted)", ""))
    assert [tuple(one) for one in processes.stale_processes(str(tmp_path))] == [
        (10, "nginx", "nginx.service", "/usr/lib/libssl.so.3")
    ]


@pytest.mark.parametrize(
    "maps",
    [
        "7f00-7f10 r-xp 00000000 00:01 5 /memfd:doublemapper (deleted)\n",
        "7f00-7f10 rw-s 00000000 00:01 5 /dev/shm/pg.1 (deleted)\n",
        "7f00-7f10 r--p 00000000 08:01 5 /usr/lib/locale/locale-archive (deleted)\n",
        "7f00-7f10 r-xp 00000000 08:01 5 /tmp/jit.so (deleted)\n",
        "7f00-7f10 rwxs 00000000 00:01 5 /SYSV00000000 (deleted)\n",
    ],
)
def test_what_never_was_a_library_is_ignored(tmp_path: Path, maps: str) -> None:
    process(tmp_path, 10, "app", cgroup="/system.slice/app.service", maps=maps)
    assert processes.stale_processes(str(tmp_path)) == []


def test_logins_are_left_out_and_the_listener_is_not(tmp_path: Path) -> None:
    maps, ssh = LIBRARY.format(inode=77), "/system.slice/ssh.service"
    process(
        tmp_path, 20, "sshd", cgroup=ssh, maps=maps, title="sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups"
    )
    process(tmp_path, 21, "sshd", cgroup=ssh, maps=maps, title="sshd: root@notty", parent=1)
    process(tmp_path, 22, "python3", cgroup=ssh, maps=maps, parent=21)
    process(tmp_path, 23, "bash", cgroup="/user.slice/user-0.slice/session-4.scope", maps=maps)
    process(tmp_path, 24, "python3", cgroup="/system.slice/patch-orchestrator-24.scope", maps=maps)
    assert [one.pid for one in processes.stale_processes(str(tmp_path))] == [20]


@pytest.mark.parametrize(
    ("cgroup", "unit", "is_session"),
    [
        ("0::/init.scope", "init.scope", False),
        ("0::/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service", False),
        ("0::/system.slice/docker.service/abc", "docker.service", False),
        ("12:pids:/x\n1:name=systemd:/system.slice/cron.service", "cron.service", False),
        ("0::/user.slice/user-1.slice/user@1.service/init.scope", "user@1.service", True),
    ],
)
def test_control_group_names_the_unit(cgroup: str, unit: str, is_session: bool) -> None:
    assert processes.unit_of(cgroup) == (unit, is_session)


def test_ports_are_listed_with_their_process(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    row = "   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1\n"
    tcp = row.format(address="0100007F:1F90", state="0A", inode=501) + row.format(
        address="0100007F:1F91", state="01", inode=502
    )
    udp = row.format(address="00000000:0044", state="07", inode=503) + row.format(
        address="00000000:C350", state="07", inode=504
    )
    (tmp_path / "net/tcp").write_text(head + tcp)
    (tmp_path / "net/udp").write_text(head + udp)
    process(tmp_path, 30, "labapp")
    (tmp_path / "30/fd/3").symlink_to("socket:[501]")
    assert sockets.listening(str(tmp_path)) == ["tcp 127.0.0.1:8080 labapp", "udp 0.0.0.0:68 -"]


ENTRY = "    menuentry 'Debian, with Linux {0}' --class gnu $menuentry_id_option 'gnulinux-{0}-{1}-aa' {{\n"
GRUB = (
    "menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-aa' {\n"
    "submenu 'Advanced options' $menuentry_id_option 'gnulinux-advanced-aa' {\n"
    + ENTRY.format("6.1.0-41-amd64", "advanced")
    + ENTRY.format("6.1.0-41-amd64", "recovery")
    + ENTRY.format("6.1.0-40-amd64", "advanced")
)


def grub(tmp_path: Path, default: str, *programs: str) -> tuple[Any, FakeShell]:
    (tmp_path / "grub.cfg").write_text(GRUB)
    (tmp_path / "default").write_text(f"GRUB_DEFAULT={default}\n")
    shell = FakeShell(dict.fromkeys(programs, ""))
    return reboot.Grub(shell, (str(tmp_path / "grub.cfg"),), str(tmp_path / "default")), shell


def test_new_kernel_is_booted_once_and_kept_only_where_grub_keeps_a_default(tmp_path: Path) -> None:
    boot, shell = grub(tmp_path, "saved", "grub-reboot", "grub-set-default")
    assert boot.boot_once("6.1.0-41-amd64")
    assert boot.keep("6.1.0-40-amd64")
    assert shell.calls == [
        ["grub-reboot", "gnulinux-advanced-aa>gnulinux-6.1.0-41-amd64-advanced-aa"],
        ["grub-set-default", "gnulinux-advanced-aa>gnulinux-6.1.0-40-amd64-advanced-aa"],
    ]
    boot, shell = grub(tmp_path, "0", "grub-reboot", "grub-set-default")
    assert not boot.keep("6.1.0-40-amd64")
    assert shell.calls == []


def test_host_without_grub_or_without_the_kernel_is_left_alone(tmp_path: Path) -> None:
    boot, shell = grub(tmp_path, "saved")
    assert not boot.boot_once("6.1.0-41-amd64")
    boot, shell = grub(tmp_path, "saved", "grub2-reboot")
    assert not boot.boot_once("9.9")
    assert boot.boot_once("6.1.0-41-amd64")
    assert shell.calls[0][0] == "grub2-reboot"


def rivals(tmp_path: Path, answers: dict[str, Any]) -> tuple[Any, FakeShell]:
    shell = FakeShell(answers)
    pauses: list[float] = []
    held = rivals_module.Rivals(
        shell, ("apt-daily.timer", "apt-daily.service"), str(tmp_path / "state"), str(tmp_path / "etc"), pauses.append
    )
    return held, shell


IDLE = """\
Id=apt-daily.timer
LoadState=loaded
ActiveState=active

Id=apt-daily.service
LoadState=loaded
ActiveState=inactive
"""


def test_rivals_are_held_by_a_condition_and_given_back_as_they_stood(tmp_path: Path) -> None:
    held, shell = rivals(tmp_path, {"show": IDLE})
    assert held.hold() == (["apt-daily.timer", "apt-daily.service"], True)
    drop_in = tmp_path / "etc/apt-daily.service.d/50-patch-orchestrator.conf"
    assert f"ConditionPathExists=!{tmp_path}/state/claim.json" in drop_in.read_text()
    assert shell.called("stop") == [["systemctl", "stop", "apt-daily.timer"]]

    assert held.give_back() == ["apt-daily.timer", "apt-daily.service"]
    assert not drop_in.parent.exists()
    assert shell.called("start") == [["systemctl", "start", "--no-block", "apt-daily.timer"]]
    assert held.give_back() == []


def test_holding_twice_remembers_how_it_was_at_first(tmp_path: Path) -> None:
    held, _shell = rivals(tmp_path, {"show": IDLE})
    held.hold()
    again, shell = rivals(tmp_path, {"show": IDLE.replace("=active", "=inactive")})
    assert again.hold() == (["apt-daily.timer", "apt-daily.service"], False)
    again.give_back()
    assert shell.called("start") != []


def test_rival_at_work_is_waited_for_and_never_stopped(tmp_path: Path) -> None:
    busy = IDLE.replace("ActiveState=inactive", "ActiveState=activating")
    held, shell = rivals(tmp_path, {"show": busy})
    with pytest.raises(PatchError, match="at work"):
        held.hold(patience=3)
    assert len(shell.called("show")) == 4
    assert shell.called("stop") == []


def test_detached_act_gives_its_result_and_its_failure(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    assert detached.carry_out(lambda: {"pid": os.getpid()}, 30, FakeShell({}), log)["pid"] != os.getpid()

    def fail() -> None:
        raise PatchError("it cannot be", {"kind": "transaction"})

    with pytest.raises(PatchError, match="it cannot be") as told:
        detached.carry_out(fail, 30, FakeShell({}), log)
    assert told.value.report == {"kind": "transaction"}


def test_detached_act_goes_on_when_nobody_waits_any_more(tmp_path: Path) -> None:
    done = tmp_path / "done"

    def act() -> dict[str, Any]:
        time.sleep(1.5)
        done.touch()
        return {}

    with pytest.raises(PatchError, match="goes on"):
        detached.carry_out(act, 0.2, FakeShell({}), str(tmp_path / "log"))
    assert not done.exists()
    until(done.exists)


def test_process_that_died_without_a_word_is_an_unknown_outcome(tmp_path: Path) -> None:
    with pytest.raises(PatchError, match="Outcome unknown"):
        detached.carry_out(lambda: os._exit(9), 30, FakeShell({}), str(tmp_path / "log"))


def test_services_are_split_into_running_and_failed() -> None:
    listing = (
        "ssh.service loaded active running OpenBSD Secure Shell server\n"
        "app.service loaded failed failed the app\n"
        "user@0.service loaded active running User Manager\n"
        "noisy.service loaded active running ignored by the site\n"
    )
    found = units.services(FakeShell({"list-units": listing}), ["noisy*"])
    assert found == {"running": ["ssh.service"], "failed": ["app.service"]}


def test_missing_program_and_slow_answer_are_values() -> None:
    assert Shell().run(["no-such-program"]).rc == 127
    assert Shell().run(["sleep", "5"], timeout=0.1).rc == 124
