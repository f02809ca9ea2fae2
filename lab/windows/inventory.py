"""The Windows hosts of an instance as an Ansible inventory, for either connection plugin and each way to log in."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from lab.errors import LabError
from lab.windows.agreed import CERTIFICATES, HTTP_PORT, HTTPS_PORT, PASSWORD, REALM

CONNECTIONS = ("winrm", "psrp")
#: Each way to log in, and whether it goes over HTTPS: Basic shows the password, and certificates are TLS's own.
AUTHENTICATION: Mapping[str, bool] = {
    "ntlm": False,
    "ntlm-https": True,
    "kerberos": False,
    "credssp": True,
    "certificate": True,
    "basic": True,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """How Ansible is to reach the hosts. The password stays in its file: the inventory only names it."""

    connection: str
    authentication: str
    user: str
    folder: Path

    def __post_init__(self) -> None:
        if self.connection not in CONNECTIONS or self.authentication not in AUTHENTICATION:
            raise LabError(
                f"There is no login {self.connection}, {self.authentication}; connections: {', '.join(CONNECTIONS)};"
                f" authentication: {', '.join(AUTHENTICATION)}."
            )

    @property
    def is_encrypted(self) -> bool:
        return AUTHENTICATION[self.authentication]

    @property
    def principal(self) -> str:
        """Return who logs in: with Kerberos, the account of the realm."""
        kept = self.folder / REALM
        if self.method != "kerberos":
            return self.user
        if not kept.exists():
            raise LabError("These Windows hosts belong to no Kerberos realm: `up` them with one (lab.windows.kdc).")
        return f"{self.user}@{json.loads(kept.read_text())['name']}"

    @property
    def method(self) -> str:
        return self.authentication.removesuffix("-https")


def render(hosts: Iterable[tuple[str, str, Iterable[str]]], login: Login) -> str:
    """Write the inventory of hosts, each given as name, address and groups."""
    listed = [(name, address, set(groups)) for name, address, groups in hosts]
    names = sorted({group for *_, groups in listed for group in groups})
    groups: dict[str, object] = {
        group: {"hosts": {name: {} for name, _, of in listed if group in of}} for group in names
    }
    everything = {
        "hosts": {name: {"ansible_host": address} for name, address, _ in listed},
        "vars": {**_common(login), **(_winrm(login) if login.connection == "winrm" else _psrp(login))},
        "children": groups,
    }
    return yaml.safe_dump({"all": everything}, sort_keys=False)


def _common(login: Login) -> dict[str, object]:
    common: dict[str, object] = {
        "ansible_connection": login.connection,
        "ansible_shell_type": "powershell",
        "ansible_port": HTTPS_PORT if login.is_encrypted else HTTP_PORT,
        "ansible_user": login.principal,
    }
    if login.method != "certificate":
        common["ansible_password"] = f"{{{{ lookup('ansible.builtin.file', '{login.folder / PASSWORD}') }}}}"
    return common


def _winrm(login: Login) -> dict[str, object]:
    certificates = login.folder / CERTIFICATES
    variables: dict[str, object] = {
        "ansible_winrm_transport": login.method,
        "ansible_winrm_scheme": "https" if login.is_encrypted else "http",
    }
    if login.is_encrypted:
        variables["ansible_winrm_ca_trust_path"] = str(certificates / "authority.pem")
    if login.method == "certificate":
        variables["ansible_winrm_cert_pem"] = str(certificates / "client.pem")
        variables["ansible_winrm_cert_key_pem"] = str(certificates / "client.key")
    if login.method == "kerberos":
        variables["ansible_winrm_kerberos_hostname_override"] = "{{ inventory_hostname }}"
        variables["ansible_winrm_kinit_env_vars"] = ["KRB5_CONFIG"]
    return variables


def _psrp(login: Login) -> dict[str, object]:
    certificates = login.folder / CERTIFICATES
    variables: dict[str, object] = {
        "ansible_psrp_auth": login.method,
        "ansible_psrp_protocol": "https" if login.is_encrypted else "http",
        "ansible_psrp_proxy": "",
        "ansible_psrp_ignore_proxy": True,
    }
    if login.is_encrypted:
        variables["ansible_psrp_ca_cert"] = str(certificates / "authority.pem")
    if login.method == "certificate":
        variables["ansible_psrp_certificate_pem"] = str(certificates / "client.pem")
        variables["ansible_psrp_certificate_key_pem"] = str(certificates / "client.key")
    if login.method == "kerberos":
        variables["ansible_psrp_negotiate_hostname_override"] = "{{ inventory_hostname }}"
    return variables
