"""What a host with rpm shows beside its packages."""

import os
from pathlib import Path

import pytest

from tests.unit.plugins.rpm_support import FakeShell, database, load

host = load("rpm_host")
rows = load("rpm_database").rows
errors = load("errors")


@pytest.mark.parametrize("name", ["kernel", "kernel-core", "kernel-modules-extra", "kernel-default", "kernel-rt-core"])
def test_kernels_are_known_by_name(name: str) -> None:
    assert host.is_kernel_name(name)


@pytest.mark.parametrize(
    "name", ["kernel-headers", "kernel-tools", "kernel-firmware-all", "kernel-srpm-macros", "bash"]
)
def test_other_packages_of_the_kernel_are_no_kernels(name: str) -> None:
    assert not host.is_kernel_name(name)


def test_newest_kernel_is_the_newest_image(tmp_path: Path) -> None:
    for release in ("5.14.0-427.el9.x86_64", "5.14.0-1000.el9.x86_64"):
        (tmp_path / "modules" / release).mkdir(parents=True)
        (tmp_path / "modules" / release / "vmlinuz").touch()
    (tmp_path / "modules/6.0.0-1.el9.x86_64").mkdir()  # modules without an image cannot be booted
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/vmlinuz-0-rescue-0123456789").touch()
    found = host.newest_kernel(modules=(str(tmp_path / "modules"),), boot=str(tmp_path / "boot"))
    assert found == "5.14.0-1000.el9.x86_64"


def test_container_has_no_kernel(tmp_path: Path) -> None:
    assert host.newest_kernel(modules=(str(tmp_path / "none"),), boot=str(tmp_path / "none")) == ""


def test_core_packages_that_came_after_the_boot_are_named() -> None:
    said = database("glibc 2-1 x86_64 d 200", "systemd 2-1 x86_64 d 50", "bash 5-1 x86_64 d 200")
    assert host.replaced_since_boot(rows(FakeShell({"rpm -qa": said})), now=100) == ["glibc"]


def test_process_of_the_package_manager_holds_it(tmp_path: Path) -> None:
    pid_file = tmp_path / "manager.pid"
    pid_file.write_text(f"{os.getppid()}\n")
    assert f"process {os.getppid()}" in host.lock_holder(FakeShell({}), [str(pid_file)])


def test_number_that_a_stranger_has_by_now_holds_nothing(tmp_path: Path) -> None:
    pid_file = tmp_path / "manager.pid"
    pid_file.write_text(f"{os.getppid()}\n")
    assert host.lock_holder(FakeShell({}), [str(pid_file)], owners=("no such program",)) == ""


def test_process_that_has_ended_holds_nothing(tmp_path: Path) -> None:
    pid_file = tmp_path / "manager.pid"
    pid_file.write_text("999999999")
    assert host.lock_holder(FakeShell({}), [str(pid_file)]) == ""


def test_waiting_for_a_lock_has_an_end() -> None:
    pauses: list[float] = []
    with pytest.raises(errors.PatchError, match="process 7 holds it"):
        host.wait_until_free(lambda: "process 7 holds it", patience=10, pause=pauses.append)
    assert len(pauses) == 5


def test_log_is_continued_and_what_was_said_is_returned(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    done = host.run_logged(load("shell").Shell(), ["sh", "-c", "cat; echo two >&2; exit 3"], str(log), stdin="one\n")
    assert (done.rc, done.out) == (3, "one\ntwo\n")
    assert log.read_text() == "before\none\ntwo\n"


def test_failed_scriptlets_are_found_in_what_rpm_says() -> None:
    said = "  Upgrading : beta\nwarning: %post(beta-1:1.5-1.noarch) scriptlet failed, exit status 3\n"
    assert host.failed_scriptlets(said) == ["%post(beta-1:1.5-1.noarch) scriptlet failed, exit status 3"]
