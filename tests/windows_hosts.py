"""Simulated Windows hosts as the inventory reader reads them."""

from __future__ import annotations

from pathlib import Path

import yaml

from lab.windows.instance import WindowsLab
from orchestrator.adapters.ansible.hostvars import Reader, Value
from orchestrator.domain.inventory import Host, Secret


def hosts_of(
    lab: WindowsLab, connection: str = "winrm", authentication: str = "ntlm", **variables: Value
) -> list[Host]:
    """Return the lab's hosts; ``variables`` are said of all of them, on top of the lab's inventory."""
    said = yaml.safe_load(lab.inventory(connection, authentication))["all"]
    site = Path("/site")
    reader = Reader(inventory=site, site=site, site_key=b"key", defaults={}, opened=Secret)
    everywhere = {**said["vars"], **variables}
    return [reader.read(name, (), {**everywhere, **own}) for name, own in said["hosts"].items()]
