"""What a site sets, what it may not set, and how its secrets are found."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.domain.limits import Limits
from orchestrator.domain.retention import RetentionPolicy
from orchestrator.domain.rollback import RollbackClass
from orchestrator.errors import InvalidInput, NotFound, Unavailable
from orchestrator.logs import LogForm, LogLevel, LogSettings
from orchestrator.settings import Address, Reference, ReferenceKind, Settings, find_site, load_settings, resolve

EVERYTHING = """\
[site]
name = "example"

[paths]
state = "/srv/state/example"

[database]
url = "postgresql+psycopg://patch@db.example.org/patch"
password = {env = "PATCH_DB_PASSWORD"}

[ansible]
forks = 10
vault_password = {file = "../vault-password"}

[secrets]
winrm = {command = ["pass", "show", "winrm"]}

[rollback.lab]
take = ["lab", "snapshot", "{host}"]
restore = ["lab", "restore", "{host}"]
release = ["lab", "drop", "{host}"]
class = "exact"
timeout = "90s"
parallel = 2

[notify.mail]
kind = "apprise"
events = ["closed", "paused"]
to = "night@example.org"
password = {env = "MAIL_PASSWORD"}

[evidence]
checkpoint_file = "/var/log/patch-checkpoints"
key = "/srv/keys/signing-key.pem"

[ansible.installations.legacy]
path = "/opt/ansible-2.16"

[limits]
jobs = 2
forks = 12
free_memory = 1024

[limits.throttle]
"esx1.example.org" = 2
mirror = 5

[hosts]
lost_after = "20m"

[log]
format = "json"
level = "warning"

[telemetry]
endpoint = "https://collector.example.org:4318/v1/traces"

[web]
listen = "10.0.0.5:9100"

[retention]
keep = "200d"
at_least = "30d"
size = "20GiB"
"""

NOBODY_SAID = {"HOME": "/home/somebody"}


def site_with(tmp_path: Path, text: str) -> Path:
    site = tmp_path / "site"
    site.mkdir()
    (site / "orchestrator.toml").write_text(text)
    return site


def read(tmp_path: Path, text: str, **environ: str) -> Settings:
    return load_settings(site_with(tmp_path, text), NOBODY_SAID | environ)


def test_everything_that_can_be_set_is_read(tmp_path: Path) -> None:
    settings = read(tmp_path, EVERYTHING)
    assert (settings.name, settings.state) == ("example", Path("/srv/state/example"))
    assert settings.database.url == "postgresql+psycopg://patch@db.example.org/patch"
    assert settings.database.password == Reference(kind=ReferenceKind.ENV, target=("PATCH_DB_PASSWORD",))
    assert settings.forks == 10
    assert settings.installations == {"legacy": Path("/opt/ansible-2.16")}
    throttle = {"esx1.example.org": 2, "mirror": 5}
    assert settings.limits == Limits(jobs=2, forks=12, free_memory=1024, throttle=throttle)
    assert settings.vault_password == Reference(kind=ReferenceKind.FILE, target=(f"{tmp_path}/site/../vault-password",))
    assert settings.secrets["winrm"].target == ("pass", "show", "winrm")
    provider = settings.rollback["lab"]
    assert provider.take == ("lab", "snapshot", "{host}")
    assert (provider.rollback_class, provider.timeout, provider.parallel) == (
        RollbackClass.EXACT,
        90,
        2,
    )
    mail = settings.notify["mail"]
    assert (mail.kind, mail.events, mail.options) == ("apprise", ("closed", "paused"), {"to": "night@example.org"})
    assert mail.secrets["password"].target == ("MAIL_PASSWORD",)
    assert settings.checkpoint_file == Path("/var/log/patch-checkpoints")
    assert settings.signing_key == Path("/srv/keys/signing-key.pem")
    assert settings.lost_after == timedelta(minutes=20)
    assert settings.log == LogSettings(LogForm.JSON, LogLevel.WARNING)
    assert settings.traces == "https://collector.example.org:4318/v1/traces"
    assert settings.listen == Address("10.0.0.5", 9100)
    assert settings.retention == RetentionPolicy(
        keep=timedelta(days=200), at_least=timedelta(days=30), size=20 * 1024**3
    )


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (None, Address("127.0.0.1", 9464)),
        ("9100", Address("127.0.0.1", 9100)),
        ("patch.example.org:80", Address("patch.example.org", 80)),
        ("none", None),
    ],
)
def test_where_serve_answers(tmp_path: Path, said: str | None, meant: Address | None) -> None:
    text = SITE if said is None else f'{SITE}[web]\nlisten = "{said}"\n'
    assert read(tmp_path, text).listen == meant


@pytest.mark.parametrize("said", ["nowhere", "127.0.0.1", ":80", "host:99999", "host:port", "a b:80"])
def test_address_that_is_none_is_refused(tmp_path: Path, said: str) -> None:
    with pytest.raises(InvalidInput, match=r"line|orchestrator\.toml") as refused:
        read(tmp_path, f'{SITE}[web]\nlisten = "{said}"\n')
    assert "web.listen has to be" in str(refused.value)


def test_what_is_kept_for_a_short_time_has_no_longer_least_age(tmp_path: Path) -> None:
    assert read(tmp_path, SITE + '[retention]\nkeep = "7d"\n').retention.at_least == timedelta(days=7)


def test_a_name_is_all_that_a_site_has_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    settings = read(tmp_path, '[site]\nname = "example"\n')
    assert settings.state == Path("/home/somebody/.local/state/patch-orchestrator/example")
    assert settings.database.url == f"sqlite:///{settings.state}/orchestrator.db"
    assert settings.signing_key == settings.state / "signing-key.pem"
    assert settings.lost_after is None, "each change says how long it waits for a host"


def test_the_state_of_a_user_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    settings = read(tmp_path, '[site]\nname = "example"\n', XDG_STATE_HOME="/data/state")
    assert settings.state == Path("/data/state/patch-orchestrator/example")


def test_the_state_of_root_is_the_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    settings = read(tmp_path, '[site]\nname = "example"\n', XDG_STATE_HOME="/data/state")
    assert settings.state == Path("/var/lib/patch-orchestrator/example")


def test_without_a_word_all_runs_may_have_the_forks_of_one(tmp_path: Path) -> None:
    assert read(tmp_path, SITE + "[ansible]\nforks = 7\n[limits]\njobs = 3\n").limits == Limits(jobs=3, forks=21)


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    settings = read(
        tmp_path, EVERYTHING, ORCHESTRATOR_ANSIBLE_FORKS="3", ORCHESTRATOR_DATABASE_URL="sqlite:////tmp/other.db"
    )
    assert settings.forks == 3
    assert settings.database.url == "sqlite:////tmp/other.db"


SITE = '[site]\nname = "example"\n'
MISTAKES = {
    "name missing": ("[site]\n", 1, "site.name has to be a name"),
    "name with a path in it": ('[site]\nname = "../etc"\n', 2, "site.name has to be a name"),
    "not TOML": ("[site]\nname = \n", 2, "Invalid value"),
    "patience that no host can meet": (
        SITE + '[hosts]\nlost_after = "5s"\n',
        4,
        "hosts.lost_after is shorter than 10s",
    ),
    "size without a unit": (SITE + '[retention]\nsize = "20"\n', 4, "retention.size has to be a size with its unit"),
    "least age beyond the age": (
        SITE + '[retention]\nkeep = "7d"\nat_least = "8d"\n',
        5,
        "retention.at_least is longer than retention.keep",
    ),
    "collector that is no address": (
        SITE + '[telemetry]\nendpoint = "127.0.0.1:4318"\n',
        4,
        "telemetry.endpoint is no address of a collector; write http://HOST:4318/v1/traces",
    ),
    "log in a form that is not there": (
        SITE + '[log]\nformat = "xml"\n',
        4,
        "log.format is 'xml', which is not one of",
    ),
    "unknown table": (SITE + "[databse]\n", 3, "databse is unknown (did you mean database?)"),
    "unknown key": (SITE + "[ansible]\nfork = 3\n", 4, "ansible.fork is unknown (did you mean forks?"),
    "a table that is a value": ("ansible = 3\n" + SITE, 1, "ansible is a table"),
    "forks as text": (SITE + '[ansible]\nforks = "3"\n', 4, "ansible.forks has to be a whole number"),
    "no forks": (SITE + "[ansible]\nforks = 0\n", 4, "ansible.forks has to be a whole number"),
    "jobs true": (SITE + "[limits]\njobs = true\n", 4, "limits.jobs has to be a whole number"),
    "fewer forks than jobs": (SITE + "[limits]\njobs = 4\nforks = 3\n", 5, "limits.forks has to be 4 or more"),
    "a limit that is none": (SITE + '[limits.throttle]\nesx1 = "two"\n', 4, "limits.throttle.esx1 has to be a whole"),
    "an installation without path": (SITE + "[ansible.installations.legacy]\n", 3, "legacy.path is missing"),
    "an installation that is always there": (
        SITE + '[ansible.installations.default]\npath = "/opt/a"\n',
        3,
        "ansible.installations.default is the controller's own installation",
    ),
    "an installation with a slip": (
        SITE + '[ansible.installations.legacy]\npath = "/opt/a"\nphat = "/opt/b"\n',
        5,
        "ansible.installations.legacy.phat is unknown (did you mean path?)",
    ),
    "other database": (SITE + '[database]\nurl = "mysql://db/x"\n', 4, "database.url begins with 'mysql'"),
    "relative database": (SITE + '[database]\nurl = "sqlite:///x.db"\n', 4, "names no absolute path"),
    "vault password as text": (SITE + '[ansible]\nvault_password = "hunter2"\n', 4, "has to be {env"),
    "two references": (SITE + '[secrets]\na = {env = "A", file = "b"}\n', 4, "secrets.a has to be {env"),
    "empty command": (SITE + "[secrets]\na = {command = []}\n", 4, "secrets.a has to be {env"),
    "rollback without restore": (
        SITE + '[rollback.lab]\ntake = ["a"]\nrelease = ["a"]\n',
        3,
        "rollback.lab.restore has to be a list of texts",
    ),
    "rollback as one text": (
        SITE + '[rollback.lab]\ntake = "a b"\nrestore = ["a"]\nrelease = ["a"]\n',
        4,
        "rollback.lab.take has to be a list of texts",
    ),
    "unknown class": (
        SITE + '[rollback.lab]\ntake=["a"]\nrestore=["a"]\nrelease=["a"]\nclass = "good"\n',
        7,
        "rollback.lab.class is 'good', which is not one of exact, package, none",
    ),
    "a provider called packages": (
        SITE + '[rollback.packages]\ntake=["a"]\nrestore=["a"]\nrelease=["a"]\n',
        3,
        "rollback.packages is the name of a provider that is always there",
    ),
    "timeout without unit": (
        SITE + '[rollback.lab]\ntake=["a"]\nrestore=["a"]\nrelease=["a"]\ntimeout = 60\n',
        7,
        "rollback.lab.timeout has to be a duration",
    ),
    "state inside the site": (SITE + '[paths]\nstate = "state"\n', 4, "paths.state lies in the site's own folder"),
    "key inside the site": (
        SITE + '[evidence]\nkey = "signing-key.pem"\n',
        4,
        "evidence.key lies in the site's own folder",
    ),
    "key of another name": (
        SITE + '[evidence]\nkey = "/srv/x.pem"\n',
        4,
        "evidence.key has to be called signing-key.pem",
    ),
    "an option of a notifier that is a list": (SITE + "[notify.mail]\nto = [1]\n", 4, "notify.mail.to has to be"),
}


@pytest.mark.parametrize(("text", "line", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path, text)
    assert [(m.file, m.line) for m in caught.value.mistakes] == [(f"{tmp_path}/site/orchestrator.toml", line)]
    assert said in caught.value.mistakes[0].message


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = '[site]\nname = "Example"\n[ansible]\nforks = -1\nfroks = 2\n[limits]\njobs = 1000\n'
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path, text)
    assert [mistake.line for mistake in caught.value.mistakes] == [2, 4, 5, 7]


@pytest.mark.parametrize("url", ["postgresql+psycopg://u:hunter2@db/x", "postgresql+psycopg://db/x?password=hunter2"])
def test_a_password_in_the_address_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidInput, match="holds a password") as caught:
        read(tmp_path, SITE + f'[database]\nurl = "{url}"\n')
    assert "hunter2" not in str(caught.value)


def test_a_secret_written_into_the_file_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path, SITE + '[secrets]\nwinrm = "hunter2"\n')
    assert "hunter2" not in str(caught.value)


def test_a_variable_that_is_nearly_a_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="ORCHESTRATOR_DATABASE_ULR: is no setting"):
        read(tmp_path, SITE, ORCHESTRATOR_DATABASE_ULR="x")


def test_a_wrong_variable_is_named_instead_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="variable ORCHESTRATOR_LIMITS_JOBS: "):
        read(tmp_path, SITE, ORCHESTRATOR_LIMITS_JOBS="many")


def test_a_variable_that_holds_a_secret_is_no_setting(tmp_path: Path) -> None:
    text = SITE + '[database]\npassword = {env = "ORCHESTRATOR_DATABASE_PASSWORD"}\n'
    assert read(tmp_path, text, ORCHESTRATOR_DATABASE_PASSWORD="x", ORCHESTRATOR_LAB="1").database.password


def test_a_site_without_a_settings_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_settings(tmp_path, NOBODY_SAID)


def test_the_site_is_found_from_a_folder_within_it(tmp_path: Path) -> None:
    site = site_with(tmp_path, SITE)
    (site / "roles/web").mkdir(parents=True)
    assert find_site(site / "roles/web", {}) == site


def test_the_site_that_the_environment_names_wins(tmp_path: Path) -> None:
    site = site_with(tmp_path, SITE)
    assert find_site(Path("/"), {"ORCHESTRATOR_SITE": str(site)}) == site


def test_no_site_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="orchestrator init DIR"):
        find_site(tmp_path, {})


def test_a_named_site_that_is_none_is_not_searched_around(tmp_path: Path) -> None:
    site = site_with(tmp_path, SITE)
    (site / "roles").mkdir()
    with pytest.raises(NotFound, match="ORCHESTRATOR_SITE names"):
        find_site(site, {"ORCHESTRATOR_SITE": str(site / "roles")})


def env(name: str) -> Reference:
    return Reference(kind=ReferenceKind.ENV, target=(name,))


def file(path: Path) -> Reference:
    return Reference(kind=ReferenceKind.FILE, target=(str(path),))


def command(code: str) -> Reference:
    return Reference(kind=ReferenceKind.COMMAND, target=(sys.executable, "-c", code))


def test_a_secret_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATCH_SECRET", "hunter2")
    assert resolve(env("PATCH_SECRET")).reveal() == "hunter2"
    assert repr(resolve(env("PATCH_SECRET"))) == "***"


def test_a_secret_comes_from_a_file_without_its_newline(tmp_path: Path) -> None:
    kept = tmp_path / "secret"
    kept.write_text("hunter2\n")
    kept.chmod(0o640)
    assert resolve(file(kept)).reveal() == "hunter2"


def test_a_secret_comes_from_a_command(tmp_path: Path) -> None:
    assert resolve(command("print('hunter2')")).reveal() == "hunter2"


def test_a_file_that_everybody_may_read_holds_no_secret(tmp_path: Path) -> None:
    kept = tmp_path / "secret"
    kept.write_text("hunter2\n")
    kept.chmod(0o644)
    with pytest.raises(Unavailable, match="chmod 600") as caught:
        resolve(file(kept))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (env("NOBODY_SETS_THIS"), "NOBODY_SETS_THIS, which is not set"),
        (file(Path("/nowhere/secret")), "cannot be read"),
        (file(Path("/")), "cannot be read"),
        (Reference(kind=ReferenceKind.COMMAND, target=("/nowhere/pass",)), "cannot be run"),
        (command("print('hunter2'); raise SystemExit(3)"), "ended with 3"),
        (command("pass"), "empty"),
    ],
)
def test_a_secret_that_cannot_be_had_says_where_it_was_looked_for(reference: Reference, said: str) -> None:
    with pytest.raises(Unavailable, match=said) as caught:
        resolve(reference)
    assert "hunter2" not in str(caught.value)


def test_a_secret_is_asked_for_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINRM", "hunter2")
    settings = read(tmp_path, SITE + '[secrets]\nwinrm = {env = "WINRM"}\n')
    assert settings.secret("winrm").reveal() == "hunter2"
    with pytest.raises(NotFound, match="there are: winrm"):
        settings.secret("ssh")
