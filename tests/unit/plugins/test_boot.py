"""Which tool sets what a host boots."""

from tests.unit.plugins.rpm_support import FakeShell, load


def test_grubby_is_used_where_it_is_there_and_grub_elsewhere() -> None:
    boot = load("boot")
    assert type(boot.boot_default(FakeShell({"grubby": ""}))).__name__ == "Grubby"
    assert type(boot.boot_default(FakeShell({}))).__name__ == "Grub"
