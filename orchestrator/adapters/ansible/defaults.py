"""What ``ansible.cfg`` says for hosts that say nothing themselves, and where it makes Ansible look for files."""

from __future__ import annotations

from configparser import ConfigParser
from configparser import Error as ConfigError
from pathlib import Path

from orchestrator.errors import InvalidInput, Mistake

#: Host variable -> where ansible.cfg gives its default.
_DEFAULTS = {
    "ansible_connection": ("defaults", "transport"),
    "ansible_user": ("defaults", "remote_user"),
    "ansible_port": ("defaults", "remote_port"),
    "ansible_private_key_file": ("defaults", "private_key_file"),
    "ansible_become": ("privilege_escalation", "become"),
    "ansible_become_method": ("privilege_escalation", "become_method"),
    "ansible_ssh_args": ("ssh_connection", "ssh_args"),
    "ansible_ssh_common_args": ("ssh_connection", "ssh_common_args"),
    "ansible_ssh_extra_args": ("ssh_connection", "ssh_extra_args"),
}


def read_config(file: Path) -> ConfigParser:
    """Return the file's sections; none where there is no such file. Raises InvalidInput."""
    config = ConfigParser(interpolation=None, strict=False, inline_comment_prefixes=(";",))
    try:
        config.read_string(file.read_text(encoding="utf-8"), str(file))
    except FileNotFoundError:
        pass
    except (ConfigError, UnicodeDecodeError) as error:
        told = str(error).replace("\n", " ")
        raise InvalidInput("ansible.cfg cannot be read.", [Mistake(str(file), 0, 0, told)]) from error
    return config


def host_defaults(folder: Path) -> dict[str, str]:
    """Return connection variables for hosts that do not set them, from the folder's ``ansible.cfg``."""
    config = read_config(folder / "ansible.cfg")
    found = {name: config.get(*place, fallback="") for name, place in _DEFAULTS.items()}
    key_file = found["ansible_private_key_file"]
    if key_file:
        # A path in ansible.cfg is relative to that file.
        found["ansible_private_key_file"] = str(folder / Path(key_file).expanduser())
    return {name: value for name, value in found.items() if value}


def search_path(config: ConfigParser, folder: Path, option: str) -> tuple[Path, ...]:
    """Return the folders that an option of ``[defaults]`` lists, absolute; none where it is not set."""
    parts = config.get("defaults", option, fallback="").split(":")
    return tuple(folder / Path(part.strip()).expanduser() for part in parts if part.strip())
