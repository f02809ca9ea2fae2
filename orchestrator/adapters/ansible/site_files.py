"""Which of a site's files Ansible runs, and which of them only say what hosts there are."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from orchestrator.adapters.ansible.defaults import read_config, search_path
from orchestrator.errors import InvalidInput, Refused

_ROOTS = ("ansible.cfg", "playbooks", "roles", "plugins", "collections", "inventories")
#: Left by version control, interpreters, tools and editors; Ansible runs none of it.
_IGNORED = (
    ".git", "__pycache__", ".ansible", ".cache", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", ".venv",
    ".idea", ".vscode", ".DS_Store", "*.pyc", "*.pyo", "*.retry", "*~", ".*.sw?", "#*#", ".#*",
)  # fmt: skip
_VARIABLES = {"group_vars", "host_vars", "vars"}
_PLUGIN_PATHS = (
    "library", "module_utils", "action_plugins", "become_plugins", "cache_plugins", "callback_plugins",
    "cliconf_plugins", "connection_plugins", "doc_fragment_plugins", "filter_plugins", "httpapi_plugins",
    "inventory_plugins", "lookup_plugins", "netconf_plugins", "strategy_plugins", "terminal_plugins", "test_plugins",
    "vars_plugins",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFiles:
    """The files of a site, by path within it: ``content`` is what runs, ``hosts`` what the inventories are read from.

    A file stands under the path by which Ansible finds it, also where that path leads through a link.
    """

    content: Mapping[str, Path]
    hosts: Mapping[str, Path]


def site_files(site: Path) -> SiteFiles:
    """Find the files. Raises Refused where a path leads out of the site, InvalidInput where ansible.cfg is unusable."""
    content: dict[str, Path] = {}
    hosts: dict[str, Path] = {}
    for root in sorted({*_ROOTS, *_configured(site)}):
        for path, file in _walk(site, PurePosixPath(root), ()):
            kept = hosts if _is_hosts_file(path, file) else content
            kept[str(path)] = file
    return SiteFiles(content=content, hosts=hosts)


def is_variable_file(path: str) -> bool:
    """Tell whether a file holds variables: it may hold a secret so short that its plain digest would betray it."""
    return not _VARIABLES.isdisjoint(PurePosixPath(path).parent.parts)


def _is_hosts_file(path: PurePosixPath, file: Path) -> bool:
    if path.parts[0] != "inventories" or is_variable_file(str(path)):
        return False
    # An inventory script is code that runs here, whatever it is called.
    return not file.stat().st_mode & stat.S_IXUSR


def _configured(site: Path) -> Iterator[str]:
    """Name the folders within the site to which ansible.cfg sends Ansible for roles, plugins and collections."""
    config = read_config(site / "ansible.cfg")
    if not config.has_option("defaults", "roles_path"):
        raise InvalidInput(
            f"{site / 'ansible.cfg'} does not say where roles are: Ansible would also take them from the home of "
            "whoever runs it. Write under [defaults]: roles_path = roles"
        )
    for option in ("roles_path", *_PLUGIN_PATHS):
        for folder in search_path(config, site, option):
            inside = _inside(site, folder)
            if inside is None and folder.exists():
                raise Refused(
                    f"ansible.cfg sends Ansible out of the site: {option} = {folder}. What lies there would run "
                    "without having been approved. Copy it into the site, and name it relative to ansible.cfg."
                )
            if inside is not None:
                yield inside
    for option in ("collections_path", "collections_paths"):
        # Collections elsewhere are known by their versions, as those beside ansible-core are.
        yield from filter(None, (_inside(site, folder) for folder in search_path(config, site, option)))
    _refuse_private_paths(site)


def _refuse_private_paths(site: Path) -> None:
    config = read_config(site / "ansible.cfg")
    for option in ("private_key_file", "vault_password_file"):
        value = config.get("defaults", option, fallback="")
        if value and not Path(value).expanduser().is_absolute():
            raise Refused(
                f"ansible.cfg says {option} = {value}, relative to itself. Runs use a frozen copy of the site, which "
                "holds no keys. Give the absolute path, outside of the site."
            )


def _inside(site: Path, folder: Path) -> str | None:
    normal = os.path.normpath(folder)
    inside = os.path.relpath(normal, os.path.normpath(site))
    return None if inside.startswith("..") or inside == "." else inside


def _walk(site: Path, path: PurePosixPath, above: tuple[Path, ...]) -> Iterator[tuple[PurePosixPath, Path]]:
    entry = site / path
    if any(fnmatchcase(path.name, pattern) for pattern in _IGNORED) or not os.path.lexists(entry):
        return
    real = entry.resolve()
    if not real.is_relative_to(site.resolve()):
        raise Refused(
            f"{path} leads out of the site, to {real}. What lies there could change without anybody noticing. "
            "Put the file itself into the site."
        )
    if real in above:
        raise Refused(f"{path} leads back to a folder that holds it. Remove that link.")
    if real.is_dir():
        for inside in sorted(real.iterdir()):
            yield from _walk(site, path / inside.name, (*above, real))
    elif real.is_file():
        yield path, real
    else:
        raise Refused(f"{path} is no file that could be read, or a link to nothing. Remove it.")
