"""win_ping, setup, win_whoami."""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from lab.windows.arguments import ModuleFailed
from lab.windows.host import WindowsHost
from lab.windows.tasks import Result, Task, simulates

Facts = dict[str, Any]


@simulates("win_ping", "data")
def win_ping(_: WindowsHost, task: Task) -> Result:
    if task["data"] == "crash":
        raise ModuleFailed("boom")
    return {"ping": task["data"]}


@simulates("win_whoami")
def win_whoami(host: WindowsHost, _: Task) -> Result:
    account = {
        "account_name": "Administrator",
        "domain_name": host.name.upper(),
        "sid": "S-1-5-21-1004336348-1177238915-682003330-500",
        "type": "User",
    }
    return {"account": account, "authentication_package": "NTLM", "logon_type": "Network", "groups": [], "rights": []}


@simulates("setup", "gather_subset gather_timeout", private="fact_path")
def setup(host: WindowsHost, task: Task) -> Result:
    """Gather the facts of the subsets that are asked for; subsets that are not simulated give nothing."""
    asked = [str(name) for name in task["gather_subset"] or ["all"]]
    left_out = {name.removeprefix("!") for name in asked if name.startswith("!")}
    wanted = {name for name in asked if not name.startswith("!")} or {"all"}
    everything = "all" in wanted and "all" not in left_out
    facts: Facts = {"gather_subset": asked, "module_setup": True}
    for name, gather in _SUBSETS.items():
        in_minimum = name in _MINIMUM and "min" not in left_out
        if (everything and name not in left_out) or in_minimum or name in wanted:
            facts |= {f"ansible_{key}": value for key, value in gather(host).items()}
    return {"ansible_facts": facts}


def _distribution(host: WindowsHost) -> Facts:
    version = f"10.0.{host.machine.build}.0"
    return {
        "distribution": host.machine.caption,
        "distribution_version": version,
        "distribution_major_version": "10",
        "os_family": "Windows",
        "os_name": host.machine.caption,
        "os_product_type": "server",
        "os_installation_type": "Server",
        "kernel": version,
    }


def _platform(host: WindowsHost) -> Facts:
    domain = host.machine.domain
    return {
        "architecture": "64-bit",
        "domain": domain,
        "fqdn": f"{host.name}.{domain}".rstrip("."),
        "hostname": host.name,
        "netbios_name": host.name.upper()[:15],
        "nodename": f"{host.name}.{domain}".rstrip("."),
        "reboot_pending": host.updates.need_reboot,
        "system": "Win32NT",
        "system_description": "",
        "machine_id": "",
    }


def _uptime(host: WindowsHost) -> Facts:
    now = host.machine.now()
    boot = host.machine.boot_time
    return {
        "lastboot": boot.strftime("%Y-%m-%d %H:%M:%SZ"),
        "uptime_seconds": round((now - boot).total_seconds()),
    }


def _date_time(host: WindowsHost) -> Facts:
    now = host.machine.now()
    told = {
        "date": now.strftime("%Y-%m-%d"),
        "time": now.strftime("%H:%M:%S"),
        "iso8601": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "epoch": str(int(now.timestamp())),
        "tz": dt.UTC.tzname(None),
        "tz_offset": "+00:00",
    }
    return {"date_time": told}


def _memory(_: WindowsHost) -> Facts:
    return {"memtotal_mb": 8192, "memfree_mb": 5120}


def _powershell(_: WindowsHost) -> Facts:
    return {"powershell_version": 5}


def _user(_: WindowsHost) -> Facts:
    return {"user_id": "Administrator", "user_dir": r"C:\Users\Administrator"}


def _domain(host: WindowsHost) -> Facts:
    domain = host.machine.domain
    return {"windows_domain": domain or "WORKGROUP", "windows_domain_member": bool(domain)}


def _environment(_: WindowsHost) -> Facts:
    return {"env": {"SystemRoot": r"C:\Windows", "SystemDrive": "C:", "TEMP": r"C:\Temp"}}


_MINIMUM = ("date_time", "distribution", "platform", "powershell_version")
_SUBSETS: Mapping[str, Callable[[WindowsHost], Facts]] = {
    "date_time": _date_time,
    "distribution": _distribution,
    "env": _environment,
    "memory": _memory,
    "platform": _platform,
    "powershell_version": _powershell,
    "uptime": _uptime,
    "user": _user,
    "windows_domain": _domain,
}
