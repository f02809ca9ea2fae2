"""The kernel that boots on hosts with grubby."""

from tests.unit.plugins.rpm_support import FakeShell, load

Grubby = load("rpm_grubby").Grubby
INFO = 'index=0\nkernel="/boot/vmlinuz-5.2"\nargs="ro"\nid="0123-5.2"\n'


def test_new_kernel_is_booted_once_and_the_running_one_stays_the_default() -> None:
    shell = FakeShell({"grubby --info": INFO})
    assert Grubby(shell, running="5.1").boot_once("5.2")
    assert shell.calls[1:] == [["grubby", "--set-default", "/boot/vmlinuz-5.1"], ["grub2-reboot", "0"]]


def test_kernel_that_is_not_there_changes_nothing() -> None:
    shell = FakeShell({"grubby --info": (1, "", "The param is incorrect\n")})
    assert not Grubby(shell, running="5.1").boot_once("5.9")
    assert len(shell.calls) == 1


def test_proved_kernel_is_kept() -> None:
    shell = FakeShell({})
    assert Grubby(shell).keep("5.2")
    assert shell.calls == [["grubby", "--set-default", "/boot/vmlinuz-5.2"]]


def test_host_without_grubby_keeps_no_default() -> None:
    assert not Grubby(FakeShell({})).keeps_default()
    assert Grubby(FakeShell({"grubby": ""})).keeps_default()
