"""The hosts of a lab instance as an Ansible inventory."""

from collections.abc import Iterable
from pathlib import Path

import yaml

from lab import access
from lab.host import Host


def render(hosts: Iterable[Host], key: Path, known_hosts: Path) -> str:
    """Write the inventory: each host with its address in `all`, and below it the groups that it was made for."""
    listed = list(hosts)
    names: list[str] = sorted({group for host in listed for group in host.groups})
    groups: dict[str, object] = {
        group: {"hosts": {host.name: {} for host in listed if group in host.groups}} for group in names
    }
    common = {
        "ansible_ssh_private_key_file": str(key),
        "ansible_ssh_common_args": " ".join(access.host_key_options(known_hosts)),
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    everything = {"hosts": {host.name: _variables(host) for host in listed}, "vars": common, "children": groups}
    return yaml.safe_dump({"all": everything}, sort_keys=False)


def _variables(host: Host) -> dict[str, str | bool]:
    variables: dict[str, str | bool] = {"ansible_host": host.address, "ansible_user": host.user}
    if host.user != "root":
        variables["ansible_become"] = True
    if host.family != "apt":
        variables["patch_family"] = host.family
    return variables
