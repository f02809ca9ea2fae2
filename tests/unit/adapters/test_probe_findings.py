"""What a host's answers mean for the work on it."""

from __future__ import annotations

import shlex

import pytest

from orchestrator.adapters.probes.findings import Findings, read, script
from orchestrator.domain.probe import Needs, Stage

NEEDS = Needs(free=(("/", 200 << 20), ("/boot", 50 << 20)), clock_skew=120)


def answer(*lines: str) -> str:
    return "\n".join(["look\t1", "uid\t0", "time\t1700000000", *lines, "end", ""])


def misfits(*lines: str, skew: int = 0) -> list[tuple[Stage, str]]:
    return list(read(answer(*lines)).misfits(NEEDS, skew))


def test_a_host_with_room_and_a_sound_package_manager_is_fit() -> None:
    assert misfits("free\t/\t204800\t/", "free\t/boot\t51200\t/boot", "family\tapt") == []


def test_too_little_space_names_path_mount_and_need() -> None:
    assert misfits("free\t/boot\t51199\t/") == [(Stage.DISK, "/boot has 49 MiB free (on /), 50 are needed")]


def test_a_read_only_file_system_is_no_place_for_packages() -> None:
    assert misfits("readonly\t/var/lib") == [(Stage.DISK, "the file system of /var/lib is read-only")]


def test_a_lock_names_its_holder() -> None:
    assert misfits("lock\t/var/lib/dpkg/lock\t812\tapt-get") == [
        (Stage.PACKAGE_MANAGER, "/var/lib/dpkg/lock is held by process 812 (apt-get)")
    ]


def test_half_done_work_is_damage_only_while_nobody_is_at_it() -> None:
    damage = "broken\tdpkg --audit\topenssl nginx "
    assert misfits(damage) == [(Stage.PACKAGE_MANAGER, "dpkg --audit finds damage: openssl nginx")]
    assert [text for _, text in misfits(damage, "lock\t/run/zypp.pid\t7\tzypper")] == [
        "/run/zypp.pid is held by process 7 (zypper)"
    ]


@pytest.mark.parametrize(("skew", "told"), [(121, "121 s ahead of ours"), (-121, "121 s behind ours")])
def test_a_clock_that_is_off_is_told(skew: int, told: str) -> None:
    assert misfits(skew=skew) == [(Stage.CLOCK, f"its clock is {told}, 120 s are allowed")]
    assert misfits(skew=skew - skew // abs(skew)) == []


def test_everything_wrong_is_told_in_the_order_of_the_stages() -> None:
    found = misfits("broken\tdpkg --audit\tx", "readonly\t/var/lib", skew=999)
    assert [stage for stage, _ in found] == [Stage.DISK, Stage.PACKAGE_MANAGER, Stage.CLOCK]


def test_a_pending_reboot_is_known_by_file_or_by_kernel() -> None:
    assert read(answer("reboot\t/run/reboot-required")).reboot_reasons == ("/run/reboot-required asks for it",)
    assert read(answer("kernel\t6.1.0-1\t6.1.0-2")).reboot_reasons == ("kernel 6.1.0-1 runs, 6.1.0-2 is installed",)
    assert read(answer("kernel\t6.1.0-2\t6.1.0-2")).reboot_reasons == ()


def test_rivals_are_units_that_run_or_would() -> None:
    found = read(
        answer(
            "unit\tapt-daily.timer\tactive\tenabled",
            "unit\tunattended-upgrades.service\tinactive\tenabled",
            "unit\tpackagekit.service\tactive\tstatic",
            "unit\tdnf-automatic.timer\tinactive\tdisabled",
            "unit\tyum-cron.service\tinactive\t",
            "unit\tapt-daily-upgrade.timer\tinactive\tmasked",
            "cron\t/etc/cron.daily/opensuse.org-online_update",
        )
    )
    assert found.rivals == (
        "apt-daily.timer",
        "unattended-upgrades.service",
        "packagekit.service",
        "/etc/cron.daily/opensuse.org-online_update",
    )


def test_what_a_profile_says_before_is_passed_over() -> None:
    assert read("Welcome!\nuid\t7\n" + answer()).uid == 0


def test_an_answer_that_ends_early_says_where() -> None:
    found = read("look\t1\nuid\t0\nat\tdisk\tfree space\n")
    assert (found.began, found.is_complete, found.reached) == (True, False, (Stage.DISK, "free space"))


@pytest.mark.parametrize("text", ["", "sudo: a password is required\n"])
def test_no_answer_is_no_beginning(text: str) -> None:
    assert read(text) == Findings()


def test_damaged_lines_do_no_harm() -> None:
    assert read("look\t1\nuid\tx\ntime\t\nfree\t/\nat\tnowhere\tx\nlock\nend\n").uid == 0


def test_paths_reach_the_script_as_they_are() -> None:
    first = script("apt", Needs(free=(("/", 1), ("/odd path; reboot", 1)))).decode().splitlines()[0]
    assert shlex.split(first) == ["set", "--", "apt", "/", "/odd path; reboot"]
