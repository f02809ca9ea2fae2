"""The answers about an inventory that are kept: given again for the same files, and never where they could differ."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.adapters.ansible.inventory import AnsibleInventory
from orchestrator.adapters.ansible.listings import KEPT, Listings, Source
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

    def ask(self, pattern: str = "all", content: str = "") -> int:
        """Let another command ask, and return how often Ansible was asked so far."""
        inventory = AnsibleInventory(
            site=self.site, frozen=lambda digest: self.site.parent / digest, site_key=b"key",
            programs=self.program.parent, listings=Listings(self.listings),
        )  # fmt: skip
        assert [host.name for host in inventory.resolve(pattern, Environment.PRODUCTION, content)] == ["web1"]
        return len(self._asked.read_text().splitlines())

    def freeze(self) -> None:
        """Copy the site to where content is found by its digest, which here is "frozen"."""
        shutil.copytree(self.site, self.site.parent / "frozen")


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


def test_a_file_that_was_written_just_now_is_read_since_it_could_be_written_again(case: Case) -> None:
    case.hosts.touch()
    before = case.hosts.stat()
    assert [case.ask(), case.ask()] == [1, 1]
    case.hosts.write_text("all: {hosts: {web2: }}\n")
    os.utime(case.hosts, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert case.ask() == 2


def test_a_file_that_changes_while_ansible_reads_it_leaves_no_answer(case: Case) -> None:
    text = case.program.read_text()
    case.program.write_text(text + f"echo '# and more' >> {case.hosts}\n")
    case.grow_old()
    whole = case.hosts.read_text()
    assert case.ask() == 1
    case.hosts.write_text(whole)
    assert case.ask() == 2


def test_a_file_that_changes_between_looking_and_reading_leaves_no_answer_under_its_old_looks(case: Case) -> None:
    source = Source(folder=case.site, inventory=case.inventory, program=case.program)
    before, text, looks, listings = case.hosts.stat(), case.hosts.read_text(), source.stamp(), Listings(case.listings)
    assert looks is not None
    case.hosts.write_text("all: {hosts: {web2: }}\n")
    now = source.stamp()
    assert now is not None
    assert [listings.answer("all", source, stamp, lambda: "web2") for stamp in (now, looks)] == ["web2"] * 2
    case.hosts.write_text(text)
    os.utime(case.hosts, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert source.stamp() == looks
    assert listings.answer("all", source, looks, lambda: "web1") == "web1"


def test_frozen_content_is_answered_as_the_site_was_until_a_variable_differs(case: Case) -> None:
    (case.inventory / "group_vars" / "all.yml").write_text("a: b\n")
    case.freeze()
    assert [case.ask(), case.ask(content="frozen"), case.ask(content="frozen")] == [1, 1, 1]
    (case.inventory / "group_vars" / "all.yml").write_text("a: c\n")
    assert [case.ask(content="frozen"), case.ask()] == [1, 2]


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


def a_plugin_for_variables(case: Case) -> None:
    (case.site / "ansible.cfg").write_text("[defaults]\nvars_plugins = plugins/vars\n")


def a_link_out(case: Case) -> None:
    (case.site / "common").mkdir()
    (case.inventory / "host_vars").symlink_to(case.site / "common")


def a_vaulted_file(case: Case) -> None:
    (case.inventory / "group_vars" / "all.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n")


@pytest.mark.parametrize("makes", [a_program, a_plugin, a_plugin_for_variables, a_link_out, a_vaulted_file])
def test_it_is_always_asked_where_files_do_not_say_it_all_or_the_answer_is_a_secret(
    case: Case, makes: Callable[[Case], None]
) -> None:
    makes(case)
    case.grow_old()
    assert [case.ask(), case.ask()] == [1, 2]
    assert not case.listings.exists()


def test_an_answer_that_was_cut_is_asked_for_anew(case: Case) -> None:
    case.ask()
    for kept in case.listings.iterdir():
        kept.write_bytes(kept.read_bytes()[:20])
    assert [case.ask(), case.ask()] == [2, 2]


def test_only_this_account_can_read_the_answers(case: Case) -> None:
    case.ask()
    assert {file.stat().st_mode & 0o777 for file in case.listings.iterdir()} == {0o600}
    assert case.listings.stat().st_mode & 0o777 == 0o700


def test_a_disk_that_keeps_nothing_costs_the_next_command_a_question(case: Case) -> None:
    case.listings.write_text("a file where the folder would be")
    assert [case.ask(), case.ask()] == [1, 2]


def test_the_oldest_answers_go(case: Case) -> None:
    case.ask()
    first = set(case.listings.iterdir())
    for number in range(KEPT):
        (case.listings / f"{number}").touch()
    for age, file in enumerate(sorted(set(case.listings.iterdir()) - first), start=1):
        os.utime(file, (age * 60, age * 60))
    case.ask("web1")
    assert len(list(case.listings.iterdir())) <= KEPT + 1, "the second name of an answer may come later"
    assert [case.ask(), case.ask("web1")] == [2, 2], "what was asked for last stays"


def test_what_is_not_there_is_left_to_ansible(tmp_path: Path) -> None:
    program = tmp_path / "no-program"
    assert Source(folder=tmp_path, inventory=tmp_path / "none", program=program).stamp() is None
