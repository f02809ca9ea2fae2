"""The site's hosts as the real ansible-inventory resolves them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.adapters.ansible.inventory import AnsibleInventory
from orchestrator.adapters.ansible.listings import Listings
from orchestrator.domain.inventory import Environment, Host, Secret
from orchestrator.errors import InvalidInput

HOSTS = """
all:
  children:
    fleet:
      children:
        web:
          hosts:
            web[1:3]:
        db:
          hosts:
            db1: {patch_state: stateful}
    empty: {}
  vars:
    ansible_user: ops
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    inventory = folder / "inventories" / "staging"
    (inventory / "group_vars").mkdir(parents=True)
    (inventory / "hosts.yml").write_text(HOSTS)
    (inventory / "group_vars" / "web.yml").write_text("patch_zone: dmz\npatch_state: stateless\n")
    (folder / "ansible.cfg").write_text("[defaults]\nprivate_key_file = /keys/site\n")
    return folder


def inventory_of(site: Path, password: str = "") -> AnsibleInventory:
    return AnsibleInventory(
        site=site, frozen=lambda digest: site.parent / digest, site_key=b"key", vault_password=Secret(password),
        listings=Listings(site.parent / "listings"),
    )  # fmt: skip


def resolve(site: Path, pattern: str, password: str = "", content: str = "") -> dict[str, Host]:
    found = inventory_of(site, password).resolve(pattern, Environment.STAGING, content)
    return {host.name: host for host in found}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("all", ["db1", "web1", "web2", "web3"]),
        ("web:!web2", ["web1", "web3"]),
        ("fleet:&db", ["db1"]),
        ("web[0:1]", ["web1", "web2"]),
        ("~web[13]", ["web1", "web3"]),
        ("*b1,web2", ["db1", "web1", "web2"]),
    ],
)
def test_patterns_mean_what_they_mean_to_ansible(site: Path, pattern: str, names: list[str]) -> None:
    assert list(resolve(site, pattern)) == names


def test_host_carries_its_groups_and_what_they_say(site: Path) -> None:
    host = resolve(site, "web1")["web1"]
    assert host.groups == ("fleet", "web")
    assert (host.zone, host.statefulness) == ("dmz", "stateless")
    assert (host.connection.user, host.connection.key_file) == ("ops", "/keys/site")


@pytest.mark.parametrize("pattern", ["nosuch", "web:nosuch", "web:!nosuch", "nosuch*"])
def test_pattern_that_names_nothing_known_is_refused(site: Path, pattern: str) -> None:
    with pytest.raises(InvalidInput, match="nosuch"):
        resolve(site, pattern)


@pytest.mark.parametrize("pattern", ["empty", "web:&db", "localhost", "  "])
def test_pattern_that_matches_nothing_is_refused(site: Path, pattern: str) -> None:
    with pytest.raises(InvalidInput):
        resolve(site, pattern)


def test_pattern_is_never_taken_for_an_option_or_a_file(site: Path) -> None:
    for pattern in ("--graph", "@/etc/passwd"):
        with pytest.raises(InvalidInput):
            resolve(site, pattern)


def test_missing_inventory_is_named(site: Path) -> None:
    with pytest.raises(InvalidInput, match="inventories/production"):
        inventory_of(site).resolve("all", Environment.PRODUCTION)


def test_folder_without_ansible_cfg_is_refused(site: Path) -> None:
    (site / "ansible.cfg").unlink()
    with pytest.raises(InvalidInput, match=r"has no ansible\.cfg"):
        resolve(site, "all")


def test_broken_inventory_is_told_with_its_place(site: Path) -> None:
    (site / "inventories/staging/more.ini").write_text("[broken\n")
    with pytest.raises(InvalidInput, match=r"cannot read the inventory(.|\n)*more\.ini"):
        resolve(site, "all")


def test_vaulted_file_is_read_with_the_password_and_without_a_trace(site: Path) -> None:
    secret = site / "inventories/staging/group_vars/db.yml"
    secret.write_text("ansible_become_password: hidden\n")
    password = site.parent / "password"
    password.write_text("pw")
    vault = Path(sys.executable).parent / "ansible-vault"
    subprocess.run([vault, "encrypt", "--vault-password-file", password, secret], check=True, capture_output=True)
    password.unlink()
    assert resolve(site, "db", "pw")["db1"].connection.become_password.reveal() == "hidden"
    with pytest.raises(InvalidInput, match="decrypt"):
        resolve(site, "db")
    with pytest.raises(InvalidInput, match="ecrypt"):
        resolve(site, "db", "wrong")
    assert not (site.parent / "listings").exists(), "what Ansible has opened does not lie on a disk"


def test_frozen_content_is_asked_where_it_is_named(site: Path) -> None:
    frozen = site.parent / "abc" / "inventories" / "staging"
    frozen.mkdir(parents=True)
    (frozen / "hosts").write_text("old1\n")
    (site.parent / "abc" / "ansible.cfg").write_text("[defaults]\n")
    assert list(resolve(site, "all", content="abc")) == ["old1"]


def test_frozen_hosts_are_read_once_and_again_when_their_file_was_brought_up_to_date(site: Path) -> None:
    frozen = site.parent / "abc"
    (frozen / "inventories/staging/host_vars").mkdir(parents=True)
    (frozen / "inventories/staging/hosts").write_text("old1\n")
    (frozen / "ansible.cfg").write_text("[defaults]\n")
    inventory = inventory_of(site)
    first = inventory.frozen_hosts("all", Environment.STAGING, "abc")
    (frozen / "inventories/staging/host_vars/old1.yml").write_text("patch_zone: dmz\n")
    assert inventory.frozen_hosts("all", Environment.STAGING, "abc") is first
    (frozen / "inventories/staging/hosts").write_text("old1\nnew1\n")
    assert list(inventory.frozen_hosts("all", Environment.STAGING, "abc")) == ["new1", "old1"]


def test_fingerprint_changes_with_a_group_variable(site: Path) -> None:
    before = resolve(site, "all")
    (site / "inventories/staging/group_vars/web.yml").write_text("patch_zone: lan\npatch_state: stateless\n")
    after = resolve(site, "all")
    assert before["db1"].fingerprint == after["db1"].fingerprint
    assert before["web1"].fingerprint != after["web1"].fingerprint


def test_setting_of_the_callers_shell_does_not_decide(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", "/no/such/file")
    monkeypatch.setenv("ANSIBLE_VARS_ENABLED", "")
    assert resolve(site, "web1")["web1"].zone == "dmz"


def test_mistakes_name_their_hosts(site: Path) -> None:
    (site / "inventories/staging/group_vars/web.yml").write_text("patch_state: sometimes\n")
    with pytest.raises(InvalidInput, match=r"3 hosts(.|\n)*web1: patch_state(.|\n)*web3: patch_state"):
        resolve(site, "all")


def test_ten_thousand_hosts_take_seconds(site: Path) -> None:
    lines = ["[many]", *(f"n{number:05} ansible_host=192.0.2.1" for number in range(10_000))]
    (site / "inventories/staging/many").write_text("\n".join(lines))
    begun = time.monotonic()
    assert len(resolve(site, "many")) == 10_000
    # About 4 s on two idle cores; the bound leaves room for a busy machine.
    assert time.monotonic() - begun < 30


SHIPPED = Path(__file__).parents[2] / "inventories"


@pytest.mark.parametrize("environment", list(Environment))
def test_site_starts_with_inventories_that_can_be_read(site: Path, environment: Environment) -> None:
    shutil.copytree(SHIPPED, site / "inventories", dirs_exist_ok=True)
    with pytest.raises(InvalidInput, match="matches no host"):
        inventory_of(site).resolve("all", environment)


def test_shipped_examples_are_what_they_say(site: Path) -> None:
    for path in ("staging/hosts.yml", "staging/group_vars/all.yml"):
        lines = (SHIPPED / path).read_text().splitlines()
        examples = [line.removeprefix("#   ") for line in lines if line.startswith("#   ")]
        (site / "inventories" / path).write_text("\n".join(examples))
    (site / "inventories/staging/group_vars/web.yml").unlink()
    hosts = resolve(site, "web[0]:db1.example.org")
    assert hosts["web1.example.org"].connection.address == "192.0.2.11"
    assert hosts["db1.example.org"].groups == ("database",)
    assert (hosts["db1.example.org"].statefulness, hosts["db1.example.org"].providers) == ("replicated", ("packages",))
