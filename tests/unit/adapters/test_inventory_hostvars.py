"""What the inventory says of a host becomes a Host, or a mistake that names the variable."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.ansible.hostvars import Reader, Value, fingerprint
from orchestrator.adapters.ansible.vaulted import opened
from orchestrator.domain.inventory import Host, Secret, WinRm
from orchestrator.domain.rollback import Statefulness
from orchestrator.errors import InvalidInput, Unavailable

#: "s3cret" under the password "pw", made by ansible-vault.
VAULTED = """$ANSIBLE_VAULT;1.1;AES256
64393735626339366566336162663938393765376232623336303230313631306130373830616439
6233366630393232656236616437636638626333663065360a333365613962323333643032616366
65393238346639316133633563316434353635373738306135656639653133303230396463616263
3066316363653436330a346239666438653166336161383265666436653230613230623962396266
3231
"""
KEY = b"the site's key"


def read(*, defaults: dict[str, str] | None = None, password: str = "pw", **variables: Any) -> Host:
    reader = Reader(
        inventory=Path("/site/inventories/staging"),
        site=Path("/site"),
        site_key=KEY,
        defaults=defaults or {},
        opened=lambda text: opened(text, Secret(password)),
    )
    return reader.read("web1.example.org", ("web",), variables)


def test_host_that_says_nothing_is_reached_by_its_name_over_ssh() -> None:
    host = read()
    assert (host.connection.kind, host.connection.address, host.connection.port) == ("ssh", "web1.example.org", 22)
    assert host.statefulness is Statefulness.STATEFUL
    assert (host.providers, host.settings) == ((), {})


def test_connection_variables_are_understood_under_all_their_names() -> None:
    connection = read(
        ansible_ssh_host="192.0.2.1", ansible_ssh_port="2222", ansible_ssh_user="ops", ansible_become="yes",
        ansible_become_pass="b", ansible_ssh_pass="p", ansible_ssh_private_key_file="/keys/id",
        ansible_become_method="community.general.doas",
    ).connection  # fmt: skip
    assert (connection.address, connection.port, connection.user) == ("192.0.2.1", 2222, "ops")
    assert (connection.become, connection.become_method, connection.key_file) == (True, "doas", "/keys/id")
    assert (connection.password.reveal(), connection.become_password.reveal()) == ("p", "b")


def test_known_hosts_file_is_found_in_the_ssh_arguments() -> None:
    said = read(ansible_ssh_common_args="-C -o 'UserKnownHostsFile=keys/known' -o StrictHostKeyChecking=yes")
    assert said.connection.known_hosts == "/site/keys/known"
    assert read(ansible_ssh_extra_args="-oUserKnownHostsFile=/k").connection.known_hosts == "/k"
    assert read(defaults={"ansible_ssh_common_args": "-o UserKnownHostsFile=/d"}).connection.known_hosts == "/d"


def test_host_variables_win_over_ansible_cfg() -> None:
    defaults = {"ansible_user": "from-cfg", "ansible_port": "2200"}
    connection = read(defaults=defaults, ansible_ssh_user="from-host").connection
    assert (connection.user, connection.port) == ("from-host", 2200)


@pytest.mark.parametrize(
    ("said", "kind", "port"),
    [("ansible.builtin.ssh", "ssh", 22), ("winrm", "winrm", 5986), ("psrp", "psrp", 5986), ("local", "local", 22)],
)
def test_connection_plugins_are_known_by_their_short_names(said: str, kind: str, port: int) -> None:
    connection = read(ansible_connection=said).connection
    assert (connection.kind, connection.port) == (kind, port)


def test_vaulted_password_is_opened_and_never_shown() -> None:
    host = read(ansible_become_password={"__ansible_vault": VAULTED})
    assert host.connection.become_password.reveal() == "s3cret"
    assert "s3cret" not in repr(host)


def test_vaulted_password_under_another_password_is_a_mistake() -> None:
    with pytest.raises(InvalidInput, match="ansible_password: it is vaulted with another password"):
        read(password="wrong", ansible_password={"__ansible_vault": VAULTED})


def test_vaulted_password_without_a_password_is_a_mistake() -> None:
    with pytest.raises(InvalidInput, match="no vault password is configured"):
        read(password="", ansible_password={"__ansible_vault": VAULTED})


def test_reference_to_a_plain_variable_is_followed() -> None:
    host = read(
        ansible_host="{{ inventory_hostname_short }}.{{ domain }}", domain="int.example.org",
        ansible_password="{{ vault_password }}", vault_password={"__ansible_vault": VAULTED},
    )  # fmt: skip
    assert host.connection.address == "web1.int.example.org"
    assert host.connection.password.reveal() == "s3cret"


@pytest.mark.parametrize("template", ["{{ lookup('env', 'X') }}", "{{ hostvars['a'].b }}", "{% if a %}b{% endif %}"])
def test_template_that_only_a_play_could_fill_is_a_mistake(template: str) -> None:
    with pytest.raises(InvalidInput, match="ansible_host: it is a template"):
        read(ansible_host=template)


def test_reference_in_a_circle_is_a_mistake() -> None:
    with pytest.raises(InvalidInput, match="without end"):
        read(ansible_host="{{ a }}", a="{{ b }}", b="{{ a }}")


def test_patch_variables_say_what_the_host_is() -> None:
    host = read(
        patch_family="dnf", patch_zone="dmz", patch_cluster="db", patch_state="replicated",
        patch_rollback=["lab", "packages"], patch_owner="mail team", patch_night=True,
    )  # fmt: skip
    assert (host.family, host.zone, host.cluster) == ("dnf", "dmz", "db")
    assert host.statefulness is Statefulness.REPLICATED
    assert host.providers == ("lab", "packages")
    assert host.settings == {"patch_night": "true", "patch_owner": "mail team"}


@pytest.mark.parametrize(
    ("connection", "family"), [("ssh", ""), ("winrm", "windows"), ("ansible.builtin.psrp", "windows")]
)
def test_host_that_is_reached_as_windows_is_windows(connection: str, family: str) -> None:
    assert read(ansible_connection=connection).family == family
    assert read(ansible_connection=connection, patch_family="apt").family == "apt"


def test_patch_variables_say_which_ansible_works_on_the_host_and_which_limits_count_it() -> None:
    host = read(patch_ansible="legacy", patch_throttle_group="esx1, mirror")
    assert (host.ansible, host.throttle, host.settings) == ("legacy", ("esx1", "mirror"), {})
    assert read().ansible == read(patch_ansible="default").ansible == ""
    assert read(patch_ansible="default-2").ansible == "default-2"


@pytest.mark.parametrize(("said", "length"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400)])
def test_patch_lost_after_says_how_long_the_host_may_be_silent(said: str, length: int) -> None:
    host = read(patch_lost_after=said)
    assert (host.lost_after, host.settings) == (timedelta(seconds=length), {})
    assert read().lost_after is None


@pytest.mark.parametrize("said", ["5s", "0m", "30", "half an hour", "1w", "-5m", 30])
def test_patch_lost_after_that_is_no_time_to_boot_in_is_a_mistake(said: object) -> None:
    with pytest.raises(InvalidInput, match=r"patch_lost_after: .* is no duration of 10s or more"):
        read(patch_lost_after=said)


@pytest.mark.parametrize("role", ["patch_drain_haproxy", "our-drain", "site.web.drain"])
def test_patch_drain_names_the_role_that_takes_the_host_out_of_service(role: str) -> None:
    host = read(patch_drain=role)
    assert (host.drain, host.settings) == (role, {})
    assert host.fingerprint != read(patch_drain=f"{role}2").fingerprint


@pytest.mark.parametrize("word", ["roles/web", "a.b", "web drain", "../web"])
def test_patch_drain_that_is_no_name_of_a_role_is_a_mistake(word: str) -> None:
    with pytest.raises(InvalidInput, match=r"patch_drain: .* is no name of a role"):
        read(patch_drain=word)


def test_providers_may_be_one_line() -> None:
    assert read(patch_rollback="lab, packages").providers == ("lab", "packages")


def test_secret_among_the_settings_is_a_mistake() -> None:
    with pytest.raises(InvalidInput, match="patch_token: it is vaulted, and a setting is shown"):
        read(patch_token={"__ansible_vault": VAULTED})


def test_every_mistake_of_a_host_is_told_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        read(patch_family="pacman", patch_state="sometimes", ansible_port="ssh")
    assert all(word in str(caught.value) for word in ("patch_family", "patch_state", "ansible_port"))


def test_fingerprint_does_not_depend_on_the_order() -> None:
    assert fingerprint({"a": 1, "b": [1.5]}, KEY) == fingerprint({"b": [1.5], "a": 1}, KEY)


@pytest.mark.parametrize("other", [{"a": "1"}, {"a": 1.0}, {"a": 2}, {"b": 1}, {"a": 1, "ü": 1}, {"a": True}])
def test_fingerprint_tells_every_difference(other: dict[str, Value]) -> None:
    assert fingerprint(other, KEY) != fingerprint({"a": 1}, KEY)


def test_fingerprint_cannot_be_guessed_without_the_key() -> None:
    assert fingerprint({"a": 1}, KEY) != fingerprint({"a": 1}, b"another key")


def test_fingerprint_leaves_out_what_the_inventory_does_not_say() -> None:
    said: dict[str, Any] = {"a": 1, "patch_job": {"change": "CHG-0001"}, "inventory_file": "/tmp/x"}
    assert fingerprint(said, KEY) == fingerprint({"a": 1}, KEY)


def test_winrm_is_understood_with_its_defaults() -> None:
    connection = read(ansible_connection="winrm", ansible_user="patch", ansible_password="p").connection
    assert (connection.port, connection.user, connection.password.reveal()) == (5986, "patch", "p")
    assert connection.winrm == WinRm(scheme="https", authentication=("basic",))
    assert read().connection.winrm is None


@pytest.mark.parametrize(
    ("said", "scheme", "port"),
    [
        ({"ansible_port": 5985}, "http", 5985),
        ({"ansible_winrm_port": 5985, "ansible_port": 22}, "http", 5985),
        ({"ansible_winrm_scheme": "http"}, "http", 5986),
        ({"ansible_port": 8443}, "https", 8443),
        ({"ansible_connection": "psrp", "ansible_psrp_protocol": "http"}, "http", 5985),
        ({"ansible_connection": "psrp", "ansible_psrp_port": "5985"}, "http", 5985),
        ({"ansible_connection": "psrp"}, "https", 5986),
    ],
)
def test_scheme_and_port_follow_each_other_as_in_ansibles_plugins(said: dict[str, Any], scheme: str, port: int) -> None:
    connection = read(defaults={"ansible_port": "2222"}, **{"ansible_connection": "winrm", **said}).connection
    assert connection.winrm is not None
    assert (connection.winrm.scheme, connection.port) == (scheme, port)


def test_everything_that_the_winrm_plugin_reads_is_read() -> None:
    connection = read(
        ansible_connection="ansible.builtin.winrm", ansible_winrm_host="192.0.2.7", ansible_host="x",
        ansible_winrm_user="svc", ansible_winrm_password="p", ansible_winrm_path="/custom",
        ansible_winrm_transport=["certificate", "ntlm"], ansible_winrm_server_cert_validation="ignore",
        ansible_winrm_ca_trust_path="ca.pem", ansible_winrm_cert_pem="/keys/c.pem",
        ansible_winrm_cert_key_pem="/keys/c.key", ansible_winrm_message_encryption="always",
        ansible_winrm_kerberos_hostname_override="win7.example.org", ansible_winrm_kerberos_delegation=True,
        ansible_winrm_kinit_mode="manual", ansible_winrm_send_cbt=False, ansible_winrm_proxy="http://proxy:3128",
        ansible_winrm_service="HOST",
    ).connection  # fmt: skip
    assert (connection.address, connection.user, connection.password.reveal()) == ("192.0.2.7", "svc", "p")
    assert connection.winrm == WinRm(
        scheme="https", path="/custom", authentication=("certificate", "ntlm"), is_validated=False,
        trust="/site/ca.pem", certificate="/keys/c.pem", certificate_key="/keys/c.key", encryption="always",
        proxy="http://proxy:3128", principal_host="win7.example.org", service="HOST", delegates=True, is_bound=False,
        has_ticket=True,
    )  # fmt: skip


def test_everything_that_the_psrp_plugin_reads_is_read() -> None:
    connection = read(
        ansible_connection="psrp", ansible_psrp_host="192.0.2.7", ansible_psrp_user="svc", ansible_password="p",
        ansible_psrp_path="custom", ansible_psrp_auth="certificate", ansible_psrp_cert_validation="ignore",
        ansible_psrp_ca_cert="/ca.pem", ansible_psrp_certificate_pem="/c.pem",
        ansible_psrp_certificate_key_pem="/c.key", ansible_psrp_message_encryption="never",
        ansible_psrp_negotiate_hostname_override="win7.example.org", ansible_psrp_negotiate_delegate="yes",
        ansible_psrp_negotiate_send_cbt="no", ansible_psrp_proxy="", ansible_psrp_negotiate_service="HTTP",
    ).connection  # fmt: skip
    assert (connection.address, connection.user) == ("192.0.2.7", "svc")
    assert connection.winrm == WinRm(
        scheme="https", path="/custom", authentication=("certificate",), is_validated=False, trust="/ca.pem",
        certificate="/c.pem", certificate_key="/c.key", encryption="never", principal_host="win7.example.org",
        service="HTTP", delegates=True, is_bound=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "ways"),
    [
        ({"ansible_user": "patch@EXAMPLE.ORG"}, ("kerberos",)),
        ({"ansible_winrm_transport": "ntlm"}, ("ntlm",)),
        ({"ansible_winrm_transport": "kerberos,ntlm"}, ("kerberos", "ntlm")),
        ({"ansible_winrm_transport": "plaintext"}, ("basic",)),
        ({"ansible_winrm_transport": "ssl"}, ("basic",)),
        ({"ansible_winrm_transport": "ssl", "ansible_winrm_cert_pem": "/c.pem"}, ("certificate",)),
        ({"ansible_connection": "psrp"}, ("negotiate",)),
        ({"ansible_connection": "psrp", "ansible_psrp_auth": "credssp"}, ("credssp",)),
    ],
)
def test_way_to_log_in_is_the_one_that_ansible_would_take(said: dict[str, Any], ways: tuple[str, ...]) -> None:
    winrm = read(**{"ansible_connection": "winrm", **said}).connection.winrm
    assert winrm is not None
    assert winrm.authentication == ways


def test_unknown_words_of_winrm_are_told_with_their_variable() -> None:
    with pytest.raises(InvalidInput) as caught:
        read(
            ansible_connection="winrm", ansible_winrm_transport="telnet", ansible_winrm_scheme="ftp",
            ansible_winrm_server_cert_validation="maybe",
        )  # fmt: skip
    variables = ("ansible_winrm_transport", "ansible_winrm_scheme", "ansible_winrm_server_cert_validation")
    assert all(variable in str(caught.value) for variable in variables)


@pytest.mark.parametrize("connection", ["ssh", "winrm", "psrp"])
def test_password_that_is_kept_in_a_file_is_read_when_it_is_needed(tmp_path: Path, connection: str) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    said: dict[str, Any] = {
        "win_login": f"{{{{ lookup('ansible.builtin.file', '{file}') }}}}",
        "ansible_password": "{{ win_login }}",
    }
    password = read(ansible_connection=connection, **said).connection.password
    assert (password.reveal(), repr(password), bool(password)) == ("first", "***", True)
    file.write_text("second\n")
    assert password.reveal() == "second"
    file.unlink()
    with pytest.raises(Unavailable, match="cannot be read: No such file or directory"):
        password.reveal()


def test_password_that_is_kept_in_a_variable_is_read_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WINDOWS_PASSWORD", raising=False)
    password = read(
        ansible_connection="winrm", ansible_password='{{ lookup("env", "WINDOWS_PASSWORD") }}'
    ).connection.password
    with pytest.raises(Unavailable, match="the environment variable WINDOWS_PASSWORD, which is not set here"):
        password.reveal()
    monkeypatch.setenv("WINDOWS_PASSWORD", "s3cret")
    assert password.reveal() == "s3cret"


def test_password_file_without_its_whole_path_is_a_mistake() -> None:
    with pytest.raises(InvalidInput, match="ansible_password: it looks up the file secret: give its whole path"):
        read(ansible_password="{{ lookup('file', 'secret') }}")


@pytest.mark.parametrize("template", ["{{ lookup('pipe', 'pass x') }}", "{{ lookup('env', 'A') + 'b' }}"])
def test_password_that_only_a_play_could_work_out_is_a_mistake(template: str) -> None:
    with pytest.raises(InvalidInput, match="ansible_password: it is a template"):
        read(ansible_password=template)


@pytest.mark.parametrize("connection", ["winrm", "psrp"])
def test_vaulted_password_of_a_windows_host_is_opened_and_never_shown(connection: str) -> None:
    host = read(ansible_connection=connection, ansible_winrm_password={"__ansible_vault": VAULTED})
    assert host.connection.password.reveal() == "s3cret"
    assert "s3cret" not in repr(host)
