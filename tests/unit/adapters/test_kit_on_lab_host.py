"""The rollback kit puts a real host back, with the shipped playbooks and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.instance import Lab
from lab.pytest_plugin import temporary_lab
from orchestrator.adapters.ansible.content import SiteContent
from orchestrator.adapters.ansible.inventory import AnsibleInventory
from orchestrator.adapters.ansible.kit import FolderKit
from orchestrator.domain.inventory import Environment
from tests.integration import test_playbooks_apt as playbooks
from tests.unit.adapters import test_kit as kits

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with temporary_lab("kit") as lab:
        lab.up_many(["h1"], no_archive=True)
        playbooks.publish(lab, "1.0")
        lab.run("h1", ["apt-get", "-qq", "update"])
        lab.install("h1", "labtool", "labapp")
        yield lab


def starting_content(folder: Path, inventory: str) -> SiteContent:
    for name in ("playbooks", "roles", "plugins"):
        shutil.copytree(playbooks.ROOT / name, folder / "site" / name)
    shutil.copy(playbooks.ROOT / "ansible.cfg", folder / "site")
    (folder / "site/inventories/production").mkdir(parents=True)
    (folder / "site/inventories/production/hosts.yml").write_text(inventory)
    return SiteContent(site=folder / "site", state=folder / "state", site_key=b"key")


def test_kit_takes_a_patched_host_back_and_a_second_time_changes_nothing(lab: Lab, tmp_path: Path) -> None:
    site = playbooks.Site(lab, tmp_path, {})
    content = starting_content(tmp_path, lab.inventory())
    found = content.read()
    content.freeze(found)
    inventory = AnsibleInventory(site=content.site, frozen=content.root, site_key=b"key")
    hosts = inventory.frozen_hosts("h1", Environment.PRODUCTION, found.digest)

    playbooks.publish(lab, "2.0")
    lab.run("h1", ["apt-get", "-qq", "update"])
    items = site.lock("labtool", "labapp")
    change = site.job(items) | {"change": "CHG-0001"}
    plan = kits.plan(found)
    kit = FolderKit(state=content.state, frozen=content.root).write(plan, hosts, {"h1": change})
    site.phase("protect", items, change="CHG-0001", token=change["token"])
    site.phase("patch", items, change="CHG-0001", token=change["token"])
    assert site.version("labtool") == "2.0"

    elsewhere = tmp_path / "usb stick"
    shutil.copytree(kit, elsewhere)
    for folder in (content.site, content.state, site.kept):
        shutil.rmtree(folder)
    first = kits.restore(elsewhere)
    assert first.returncode == 0, first.stdout + first.stderr
    assert (site.version("labtool"), site.version("labapp")) == ("1.0", "1.0")
    assert ("restore", "restored", "ok") in site.journal()
    again = kits.restore(elsewhere)
    assert "changed=0" in again.stdout, again.stdout
