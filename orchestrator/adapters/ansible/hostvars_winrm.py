"""What the inventory says of WinRM, by the variables that Ansible's ``winrm`` and ``psrp`` plugins read.

Names, defaults and their order: ``ansible-doc -t connection ansible.builtin.winrm`` and ``ansible.builtin.psrp``. Of
several variables that mean the same, Ansible takes the one that its plugin names last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.domain.inventory import WinRm

KINDS = ("winrm", "psrp")
_HTTP, _HTTPS = 5985, 5986
_TRUE = {"1", "true", "yes", "on", "y", "t"}
#: pywinrm's older names; ``ssl`` is what it calls Basic over HTTPS, or certificates where one is named.
_SAME = {"plaintext": "basic"}
_WAYS = ("negotiate", "ntlm", "kerberos", "credssp", "certificate", "basic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """How one host's variables are asked for: the first that is set of some, as a text; a path; and what is wrong."""

    text: Callable[[tuple[str, ...]], str]
    names: Callable[[str], tuple[str, ...]]
    path: Callable[[str], str]
    wrong: Callable[[str], None]


def variables(kind: str) -> dict[str, tuple[str, ...]]:
    """Return which variables name the address, port, user and password, those that count most first."""
    return {
        "address": (f"ansible_{kind}_host", "ansible_host"),
        "port": (f"ansible_{kind}_port", "ansible_port"),
        "user": (f"ansible_{kind}_user", "ansible_user"),
        "password": ("ansible_winrm_password", "ansible_winrm_pass", "ansible_password"),
    }


def winrm(kind: str, user: str, port: int, said: Said) -> tuple[WinRm, int]:
    """Return how WinRM is spoken with the host, and at which port; ``port`` is 0 where the inventory names none."""
    word = "scheme" if kind == "winrm" else "protocol"
    scheme = _one_of(f"ansible_{kind}_{word}", ("http", "https"), "", said)
    # A port of its own has to say what is spoken there; pypsrp alone follows the protocol with the port.
    scheme = scheme or ("http" if port == _HTTP else "https")
    port = port or (_HTTP if kind == "psrp" and scheme == "http" else _HTTPS)
    read = _of_winrm if kind == "winrm" else _of_psrp
    return read(scheme, user, said), port


def _of_winrm(scheme: str, user: str, said: Said) -> WinRm:
    certificate = said.path("ansible_winrm_cert_pem")
    usual = "kerberos" if "@" in user else "basic"
    ways = said.names("ansible_winrm_transport") or (usual,)
    # Of pywinrm: ssl is a certificate where one is named, and the password otherwise.
    named = tuple(("certificate" if certificate else "basic") if way == "ssl" else way for way in ways)
    return WinRm(
        scheme=scheme,
        path=_path(said.text(("ansible_winrm_path",))),
        authentication=_ways("ansible_winrm_transport", named, said),
        is_validated=_is_validated("ansible_winrm_server_cert_validation", said),
        trust=said.path("ansible_winrm_ca_trust_path"),
        certificate=certificate,
        certificate_key=said.path("ansible_winrm_cert_key_pem"),
        encryption=_encryption("ansible_winrm_message_encryption", said),
        proxy=said.text(("ansible_winrm_proxy",)),
        principal_host=said.text(("ansible_winrm_kerberos_hostname_override",)),
        service=said.text(("ansible_winrm_service",)) or "HTTP",
        delegates=_is_true("ansible_winrm_kerberos_delegation", said),
        is_bound=_is_true("ansible_winrm_send_cbt", said, otherwise=True),
        has_ticket=said.text(("ansible_winrm_kinit_mode",)) == "manual",
    )


def _of_psrp(scheme: str, _: str, said: Said) -> WinRm:
    ways = said.names("ansible_psrp_auth") or ("negotiate",)
    return WinRm(
        scheme=scheme,
        path=_path(said.text(("ansible_psrp_path",))),
        authentication=_ways("ansible_psrp_auth", ways, said),
        is_validated=_is_validated("ansible_psrp_cert_validation", said),
        trust=said.path("ansible_psrp_ca_cert") or said.path("ansible_psrp_cert_trust_path"),
        certificate=said.path("ansible_psrp_certificate_pem"),
        certificate_key=said.path("ansible_psrp_certificate_key_pem"),
        encryption=_encryption("ansible_psrp_message_encryption", said),
        proxy=said.text(("ansible_psrp_proxy",)),
        principal_host=said.text(("ansible_psrp_negotiate_hostname_override",)),
        service=said.text(("ansible_psrp_negotiate_service",)) or "WSMAN",
        delegates=_is_true("ansible_psrp_negotiate_delegate", said),
        is_bound=_is_true("ansible_psrp_negotiate_send_cbt", said, otherwise=True),
    )


def _ways(variable: str, ways: tuple[str, ...], said: Said) -> tuple[str, ...]:
    found = tuple(_SAME.get(way, way) for way in ways)
    for way in found:
        if way not in _WAYS:
            said.wrong(f"{variable}: {way!r} is none of {', '.join(_WAYS)}")
    return found


def _is_validated(variable: str, said: Said) -> bool:
    return _one_of(variable, ("validate", "ignore"), "validate", said) == "validate"


def _encryption(variable: str, said: Said) -> str:
    return _one_of(variable, ("auto", "always", "never"), "auto", said)


def _one_of(variable: str, allowed: tuple[str, ...], otherwise: str, said: Said) -> str:
    text = said.text((variable,)) or otherwise
    if text and text not in allowed:
        said.wrong(f"{variable}: {text!r} is none of {', '.join(allowed)}")
        return otherwise
    return text


def _is_true(variable: str, said: Said, *, otherwise: bool = False) -> bool:
    text = said.text((variable,)).lower()
    return text in _TRUE if text else otherwise


def _path(text: str) -> str:
    return "/" + (text or "wsman").lstrip("/")
