"""What Ansible runs is listed, frozen and watched."""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.adapters.ansible.content import SiteContent, remove_frozen
from orchestrator.adapters.ansible.installations import installed, try_out
from orchestrator.domain.drift import content_changes
from orchestrator.domain.plan import Content
from orchestrator.errors import InvalidInput, Refused, Unavailable

NOBODY = 65534
FILES = {
    "ansible.cfg": "[defaults]\nroles_path = roles\nlibrary = own/modules\n",
    "playbooks/patch.yml": "- hosts: patch_batch\n",
    "roles/one/tasks/main.yml": "[]\n",
    "roles/one/templates/.bashrc": "umask 077\n",
    "own/modules/look.py": "#!/usr/bin/python\n",
    "collections/requirements.yml": "collections: []\n",
    "inventories/staging/hosts.yml": "all: {hosts: {a: {}}}\n",
    "inventories/staging/group_vars/all.yml": "patch_zone: dmz\n",
    "inventories/production/hosts": "b\n",
    "inventories/production/host_vars/b/main.yml": "x: 1\n",
}
CONTENT = sorted(set(FILES) - {"inventories/staging/hosts.yml", "inventories/production/hosts"})


@pytest.fixture
def site(tmp_path: Path) -> Path:
    for path, text in FILES.items():
        write(tmp_path / "site" / path, text)
    return tmp_path / "site"


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def keeper(site: Path, key: bytes = b"key") -> SiteContent:
    return SiteContent(site=site, state=site.parent / "state", site_key=key)


def paths(content: Content) -> list[str]:
    return [file.path for file in content.files]


def digest_of(content: Content, path: str) -> str:
    return next(file.sha256 for file in content.files if file.path == path)


def frozen(site: Path) -> tuple[SiteContent, Content]:
    kept, content = keeper(site), keeper(site).read()
    kept.freeze(content)
    return kept, content


def test_everything_that_runs_is_listed_and_hosts_files_are_not(site: Path) -> None:
    assert paths(keeper(site).read()) == CONTENT


@pytest.mark.parametrize(
    "path", ["roles/one/__pycache__/x.pyc", "playbooks/patch.retry", "playbooks/.patch.yml.swp", "roles/.git/config"]
)
def test_leftovers_of_tools_are_no_content(site: Path, path: str) -> None:
    write(site / path, "x")
    assert paths(keeper(site).read()) == CONTENT


def test_inventory_script_is_content_because_it_is_code(site: Path) -> None:
    write(site / "inventories/staging/cloud", "#!/bin/sh\n")
    (site / "inventories/staging/cloud").chmod(0o755)
    assert "inventories/staging/cloud" in paths(keeper(site).read())


def test_any_change_gives_another_digest(site: Path) -> None:
    before = keeper(site).read().digest
    assert keeper(site).read().digest == before
    write(site / "roles/one/tasks/main.yml", "[{}]\n")
    assert keeper(site).read().digest != before


def test_hosts_may_come_and_go_without_another_digest(site: Path) -> None:
    before = keeper(site).read().digest
    write(site / "inventories/production/hosts", "b\nc\n")
    assert keeper(site).read().digest == before


def test_digest_of_variables_cannot_be_guessed_without_the_site_key(site: Path) -> None:
    mine, other = keeper(site).read(), keeper(site, b"another").read()
    variables = "inventories/staging/group_vars/all.yml"
    assert digest_of(mine, variables) != digest_of(other, variables)
    assert digest_of(mine, "playbooks/patch.yml") == digest_of(other, "playbooks/patch.yml")


def test_versions_name_ansible_and_its_collections(site: Path) -> None:
    versions = keeper(site).read().versions
    assert versions["ansible-core"].startswith("2.")
    assert versions["ansible.posix"]


def test_collection_on_the_configured_path_hides_the_installed_one(site: Path) -> None:
    manifest = site / "collections/ansible_collections/ansible/posix/MANIFEST.json"
    write(manifest, '{"collection_info": {"version": "99.0.0"}}')
    write(site / "ansible.cfg", FILES["ansible.cfg"] + "collections_path = collections\n")
    assert keeper(site).read().versions["ansible.posix"] == "99.0.0"


def test_working_copy_of_a_collection_is_known_by_its_files(site: Path, tmp_path: Path) -> None:
    own = tmp_path / "elsewhere/ansible_collections/our/own"
    write(own / "galaxy.yml", "version: 1.0.0\n")
    write(site / "ansible.cfg", FILES["ansible.cfg"] + f"collections_path = {tmp_path}/elsewhere\n")
    before = keeper(site).read().versions["our.own"]
    write(own / "plugins/modules/x.py", "pass\n")
    assert keeper(site).read().versions["our.own"] != before


def an_environment(folder: Path, core: str) -> Path:
    """Make what looks like a virtual environment with an Ansible and one collection."""
    found = json.dumps({"versions": {"ansible-core": core}, "search": [str(folder / "lib")]})
    for name, text in (("python3", f"#!/bin/sh\necho '{found}'\n"), ("ansible-playbook", "#!/bin/sh\n")):
        write(folder / "bin" / name, text)
        (folder / "bin" / name).chmod(0o755)
    manifest = {"collection_info": {"version": "4.2.0"}}
    write(folder / "lib/ansible_collections/old/one/MANIFEST.json", json.dumps(manifest))
    return folder


def test_versions_of_another_installation_are_told_under_its_name(site: Path) -> None:
    kept = replace(keeper(site), installations={"legacy": an_environment(site.parent / "legacy", "2.16.14")})
    content = kept.read()
    assert content.versions_of("legacy") == {"ansible-core": "2.16.14", "old.one": "4.2.0"}
    assert content.versions_of("") == keeper(site).read().versions
    kept.freeze(content)
    assert kept.frozen_is_whole(content.digest) == ""


def test_installation_that_changed_is_drift_and_says_what_differs(site: Path) -> None:
    legacy = an_environment(site.parent / "legacy", "2.16.14")
    kept = replace(keeper(site), installations={"legacy": legacy})
    approved = kept.read()
    an_environment(legacy, "2.16.15")
    (legacy / "lib/ansible_collections/old/one/MANIFEST.json").unlink()
    assert content_changes(approved, kept.read()) == (
        "legacy/ansible-core was 2.16.14 and is 2.16.15",
        "legacy/old.one was 4.2.0 and is absent",
    )
    with pytest.raises(Refused, match=r"legacy/ansible-core is 2\.16\.15, was 2\.16\.14"):
        kept.freeze(approved)


@pytest.mark.parametrize("missing", ["bin/python3", "bin/ansible-playbook"])
def test_installation_that_is_gone_is_drift_and_stops_nobody_else(site: Path, missing: str) -> None:
    legacy = an_environment(site.parent / "legacy", "2.16.14")
    kept = replace(keeper(site), installations={"legacy": legacy})
    approved = kept.read()
    (legacy / missing).unlink()
    told = content_changes(approved, kept.read())
    assert "legacy/ansible-core was 2.16.14 and is not installed" in told


def test_real_installation_tells_its_version_and_starts() -> None:
    legacy = Path(sys.prefix) / "ansible-2.16"
    assert installed(legacy).versions["ansible-core"] == try_out(legacy)
    assert try_out(legacy).startswith("2.16.")


def test_installation_that_cannot_start_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"Make it: python3 -m venv"):
        installed(tmp_path / "none")
    legacy = an_environment(tmp_path / "legacy", "2.16.14")
    (legacy / "bin/ansible-playbook").write_text("#!/bin/sh\necho 'no module named ansible' >&2; exit 1\n")
    with pytest.raises(Unavailable, match=r"no module named ansible\. Make its virtual environment anew"):
        try_out(legacy)


def test_ansible_cfg_must_say_where_roles_are(site: Path) -> None:
    write(site / "ansible.cfg", "[defaults]\n")
    with pytest.raises(InvalidInput, match="roles_path = roles"):
        keeper(site).read()


@pytest.mark.parametrize("option", ["roles_path = roles:{0}", "roles_path = roles\nlibrary = {0}"])
def test_code_outside_of_the_site_is_refused(site: Path, tmp_path: Path, option: str) -> None:
    (tmp_path / "outside").mkdir()
    write(site / "ansible.cfg", "[defaults]\n" + option.format(tmp_path / "outside"))
    with pytest.raises(Refused, match="out of the site"):
        keeper(site).read()


def test_link_out_of_the_site_is_refused(site: Path, tmp_path: Path) -> None:
    write(tmp_path / "secret.yml", "x")
    (site / "playbooks/more.yml").symlink_to(tmp_path / "secret.yml")
    with pytest.raises(Refused, match=r"playbooks/more\.yml leads out of the site"):
        keeper(site).read()


def test_link_to_nothing_is_refused(site: Path) -> None:
    (site / "playbooks/more.yml").symlink_to("nothing.yml")
    with pytest.raises(Refused, match="link to nothing"):
        keeper(site).read()


def test_link_in_a_circle_is_refused(site: Path) -> None:
    (site / "roles/one/again").symlink_to("..")
    with pytest.raises(Refused, match="leads back"):
        keeper(site).read()


def test_link_within_the_site_is_followed(site: Path) -> None:
    (site / "playbooks/tasks").symlink_to("../roles/one/tasks")
    kept, content = frozen(site)
    assert "playbooks/tasks/main.yml" in paths(content)
    assert not (kept.root(content.digest) / "playbooks/tasks").is_symlink()


def test_key_named_relative_to_ansible_cfg_is_refused(site: Path) -> None:
    write(site / "ansible.cfg", FILES["ansible.cfg"] + "private_key_file = keys/id\n")
    with pytest.raises(Refused, match="private_key_file"):
        keeper(site).read()


def test_frozen_copy_holds_the_same_and_the_hosts_and_is_read_only(site: Path) -> None:
    kept, content = frozen(site)
    root = kept.root(content.digest)
    assert {path: (root / path).read_text() for path in FILES} == FILES
    modes = {entry.stat().st_mode & 0o777 for entry in root.rglob("*")}
    assert modes == {0o444, 0o555}
    assert kept.frozen_is_whole(content.digest) == ""


def test_account_that_is_not_root_freezes_and_lets_go_as_well(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Path(tempfile.mkdtemp())
    monkeypatch.setenv("HOME", str(shared))
    try:
        shutil.copytree(site, shared / "site")
        if os.geteuid() == 0:
            os.chown(shared, NOBODY, -1)
        with as_nobody():
            kept, content = frozen(shared / "site")
            assert kept.frozen_is_whole(content.digest) == ""
            assert kept.root(content.digest).stat().st_mode & 0o222 == 0
            remove_frozen(kept.root(content.digest))
        assert not kept.root(content.digest).exists()
    finally:
        shutil.rmtree(shared)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Let this thread use files as an account without privileges does (setfsuid(2)); who is not root is one already."""
    libc, mine = ctypes.CDLL(None), os.geteuid()
    libc.setfsuid(NOBODY if mine == 0 else mine)
    try:
        yield
    finally:
        libc.setfsuid(mine)


def test_freezing_twice_is_harmless(site: Path) -> None:
    kept, content = frozen(site)
    inode = kept.root(content.digest).stat().st_ino
    kept.freeze(content)
    assert kept.root(content.digest).stat().st_ino == inode
    assert [entry.name for entry in (site.parent / "state/content").iterdir()] == [content.digest]


def test_content_that_changed_since_it_was_read_is_not_frozen(site: Path) -> None:
    content = keeper(site).read()
    write(site / "playbooks/patch.yml", "- hosts: all\n")
    write(site / "playbooks/new.yml", "[]\n")
    with pytest.raises(Refused, match=r"playbooks/new\.yml is new; playbooks/patch\.yml changed"):
        keeper(site).freeze(content)
    assert not keeper(site).root(content.digest).exists()


def test_hosts_that_are_new_reach_a_copy_that_exists(site: Path) -> None:
    kept, content = frozen(site)
    write(site / "inventories/production/hosts", "b\nc\n")
    write(site / "inventories/production/more/hosts", "d\n")
    (site / "inventories/staging/hosts.yml").unlink()
    kept.freeze(content)
    inventories = kept.root(content.digest) / "inventories"
    assert (inventories / "production/hosts").read_text() == "b\nc\n"
    assert (inventories / "production/more/hosts").read_text() == "d\n"
    assert not (inventories / "staging/hosts.yml").exists()
    assert {entry.stat().st_mode & 0o777 for entry in inventories.rglob("*")} == {0o444, 0o555}
    assert kept.frozen_is_whole(content.digest) == ""


@pytest.mark.parametrize(
    ("path", "text", "told"),
    [
        ("playbooks/patch.yml", "- hosts: all\n", "playbooks/patch.yml changed"),
        ("roles/one/vars/main.yml", "x: 1\n", "roles/one/vars/main.yml is new"),
        (".content.json", '{"files": [], "versions": {}}', "the list of files"),
        (".content.json", "{", "cannot be read"),
    ],
)
def test_copy_that_was_tampered_with_is_named_and_made_anew(site: Path, path: str, text: str, told: str) -> None:
    kept, content = frozen(site)
    file = kept.root(content.digest) / path
    for folder in (file.parent, file.parent.parent, kept.root(content.digest)):
        folder.chmod(0o755) if folder.exists() else None
    if file.exists():
        file.chmod(0o644)
    write(file, text)
    assert told in kept.frozen_is_whole(content.digest)
    kept.freeze(content)
    assert kept.frozen_is_whole(content.digest) == ""


def test_copy_that_was_never_made_is_named() -> None:
    assert "no frozen copy" in keeper(Path("/nowhere/site")).frozen_is_whole("0" * 64)


def git(site: Path, *arguments: str, author: str = "ann@example.org") -> None:
    who = {"GIT_AUTHOR_NAME": "x", "GIT_AUTHOR_EMAIL": author, "GIT_COMMITTER_NAME": "x", "GIT_COMMITTER_EMAIL": "x@y"}
    subprocess.run(["git", *arguments], cwd=site, check=True, capture_output=True, env={**os.environ, **who})


def me() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def test_authors_are_those_of_the_last_commits(site: Path) -> None:
    git(site, "init", "-q")
    git(site, "add", ".")
    git(site, "commit", "-qm", "one")
    write(site / "playbooks/patch.yml", "- hosts: all\n")
    git(site, "commit", "-qam", "two", author="bob@example.org")
    write(site / "README.md", "not content")
    git(site, "add", ".")
    git(site, "commit", "-qm", "three", author="cid@example.org")
    assert keeper(site).read().authors == ("ann@example.org", "bob@example.org")


def test_author_of_what_is_not_committed_is_the_files_owner(site: Path) -> None:
    git(site, "init", "-q")
    git(site, "add", ".")
    git(site, "commit", "-qm", "one")
    write(site / "playbooks/new.yml", "[]\n")
    assert keeper(site).read().authors == tuple(sorted(("ann@example.org", me())))
    git(site, "add", ".")
    assert keeper(site).read().authors == tuple(sorted(("ann@example.org", me())))


def test_authors_without_version_control_are_the_files_owners(site: Path) -> None:
    assert keeper(site).read().authors == (me(),)


def test_site_may_be_a_folder_of_a_larger_repository(site: Path) -> None:
    git(site.parent, "init", "-q")
    git(site.parent, "add", ".")
    git(site.parent, "commit", "-qm", "one")
    assert keeper(site).read().authors == ("ann@example.org",)


def test_who_wrote_it_is_not_part_of_the_digest(site: Path) -> None:
    before = keeper(site).read().digest
    git(site, "init", "-q")
    git(site, "add", ".")
    git(site, "commit", "-qm", "one")
    assert keeper(site).read().digest == before
