"""The answers about an inventory that are kept: given again for the same files, and never where they could differ."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.adapters.ansible.inventory import AnsibleInventory
from orchestrator.adapters.ansible.listings import KEPT, Listings, Stamp, stamp_of
from orchestrator.domain.inventory import Environment

PROGRAM = """#!/bin/sh
echo asked >> {asked}
echo '{{"_meta": {{"hostvars": {{"web1": {{}}}}}}, "all": {{"hosts": ["web1"]}}}}'
"""


class Case:
    """A site, and an `ansible-inventory` that counts how often it was asked."""

    def __init__(self, folder: Path) -> None:
        self.site, self.listings, self._asked = folder / "site", folder / "listings", folder / "asked"
        self.inventory = self.site / "inventories" / "production"
        (self.inventory / "group_vars").mkdir(parents=True)
        (self.site / "ansible.cfg").write_text("[defaults]\n")
        self.hosts = self.inventory / "hosts.yml"
        self.hosts.write_text("all: {hosts: {web1: }}\n")
        self.program = folder / "bin" / "ansible-inventory"
        self.program.parent.mkdir()
        self.program.write_text(PROGRAM.format(asked=self._asked))
        self.program.chmod(0o755)
        self.grow_old()

    def grow_old(self) -> None:
        """Let all files be an hour old."""
        for file in (self.program, *self.site.rglob("*")):
            os.utime(file, times=(time.time() - 3600,) * 2)

    def ask(self, pattern: str = "all") -> int:
        """Let another command ask, and return how often Ansible was asked so far."""
        inventory = AnsibleInventory(
            site=self.site, frozen=lambda _: self.site, site_key=b"key", programs=self.program.parent,
            listings=Listings(self.listings),
        )  # fmt: skip
        assert [host.name for host in inventory.resolve(pattern, Environment.PRODUCTION)] == ["web1"]
        return len(self._asked.read_text().splitlines())


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_the_next_command_need_not_ask_again(case: Case) -> None:
    assert [case.ask(), case.ask()] == [1, 1]
    assert case.ask("web1") == 2, "another question"


@pytest.mark.parametrize("file", ["inventories/production/hosts.yml", "ansible.cfg"])
def test_a_changed_file_is_asked_about_anew(case: Case, file: str) -> None:
    case.ask()
    before = (case.site / file).stat()
    text = (case.site / file).read_text()
    (case.site / file).write_text(text.replace("\n", "#"))
    assert (case.site / file).stat().st_size == before.st_size
    assert case.ask() == 2


def test_a_file_that_was_written_just_now_could_be_written_again(case: Case) -> None:
    case.hosts.touch()
    assert [case.ask(), case.ask()] == [1, 2]


def test_a_new_file_of_variables_is_asked_about_anew(case: Case) -> None:
    case.ask()
    (case.inventory / "group_vars" / "all.yml").write_text("a: b\n")
    assert case.ask() == 2


def test_another_ansible_is_asked_anew(case: Case) -> None:
    case.ask()
    case.program.write_text(case.program.read_text() + "# a newer one\n")
    assert case.ask() == 2


def a_program(case: Case) -> None:
    case.hosts.chmod(0o755)


def a_plugin(case: Case) -> None:
    (case.inventory / "cloud.yml").write_text("plugin: some.cloud.hosts\n")


def a_link_out(case: Case) -> None:
    (case.site / "common").mkdir()
    (case.inventory / "host_vars").symlink_to(case.site / "common")


def a_vaulted_file(case: Case) -> None:
    (case.inventory / "group_vars" / "all.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n")


@pytest.mark.parametrize("makes", [a_program, a_plugin, a_link_out, a_vaulted_file])
def test_it_is_always_asked_where_files_do_not_say_it_all_or_the_answer_is_a_secret(
    case: Case, makes: Callable[[Case], None]
) -> None:
    makes(case)
    case.grow_old()
    assert [case.ask(), case.ask()] == [1, 2]
    assert not case.listings.exists()


def test_an_answer_that_was_cut_is_asked_for_anew(case: Case) -> None:
    case.ask()
    (kept,) = case.listings.iterdir()
    kept.write_bytes(kept.read_bytes()[:20])
    assert [case.ask(), case.ask()] == [2, 2]


def test_only_this_account_can_read_the_answers(case: Case) -> None:
    case.ask()
    (kept,) = case.listings.iterdir()
    assert (case.listings.stat().st_mode & 0o777, kept.stat().st_mode & 0o777) == (0o700, 0o600)


def test_a_disk_that_keeps_nothing_costs_the_next_command_a_question(case: Case) -> None:
    case.listings.write_text("a file where the folder would be")
    assert [case.ask(), case.ask()] == [1, 2]


def test_the_oldest_answer_goes(tmp_path: Path) -> None:
    listings = Listings(tmp_path / "listings")
    asked = [Stamp(str(number), 0, ()) for number in range(KEPT + 1)]
    for stamp in asked[:KEPT]:
        listings.keep("all", stamp, tmp_path, "answer")
    for age, file in enumerate(listings.folder.iterdir(), start=1):
        os.utime(file, (age * 60, age * 60))
    assert listings.find("all", asked[0]) == "answer", "which makes it the newest"
    listings.keep("all", asked[KEPT], tmp_path, "answer")
    found = [stamp for stamp in asked if listings.find("all", stamp)]
    assert len(found) == KEPT
    assert asked[0] in found
    assert asked[KEPT] in found


def test_what_is_not_there_is_left_to_ansible(tmp_path: Path) -> None:
    assert stamp_of(tmp_path, tmp_path / "none", tmp_path / "no-program") is None
