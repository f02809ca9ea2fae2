"""Find a site and read orchestrator.toml, with what ORCHESTRATOR_* in the environment overrides."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.domain.inventory import SHORTEST_SILENCE
from orchestrator.domain.limits import Limits
from orchestrator.domain.retention import RetentionPolicy
from orchestrator.domain.rollback import RollbackClass
from orchestrator.errors import InvalidInput, Mistake, NotFound
from orchestrator.logs import LogForm, LogLevel, LogSettings
from orchestrator.settings.model import LOOPBACK, Address, CommandProvider, Database, NotifierSettings, Settings
from orchestrator.settings.table import Reading, Table, nearest

FILE = "orchestrator.toml"
PREFIX = "ORCHESTRATOR_"
SIGNING_KEY = "signing-key.pem"
OWN_INSTALLATION = "default"
_LISTEN = f"{LOOPBACK}:9464"

_NUMBERS = {("ansible", "forks"), ("limits", "jobs"), ("limits", "forks"), ("limits", "free_memory")}
#: The settings that a variable may override: each is ORCHESTRATOR_, its table, and its key.
_VARIABLES = {
    f"{PREFIX}{table}_{key}".upper(): (table, key)
    for table, key in (
        ("site", "name"),
        ("paths", "state"),
        ("database", "url"),
        ("ansible", "forks"),
        ("evidence", "checkpoint_file"),
        ("evidence", "key"),
        ("limits", "jobs"),
        ("limits", "forks"),
        ("limits", "free_memory"),
        ("log", "format"),
        ("log", "level"),
        ("telemetry", "endpoint"),
        ("web", "listen"),
    )
}


def find_site(start: Path, environ: Mapping[str, str] | None = None) -> Path:
    """Return the site's folder: that which ORCHESTRATOR_SITE names, else the one around ``start``. Raises NotFound."""
    named = (os.environ if environ is None else environ).get(PREFIX + "SITE", "")
    if named:
        folder = Path(named).expanduser().absolute()
        if (folder / FILE).is_file():
            return folder
        raise NotFound(
            f"{PREFIX}SITE names {folder}, and there is no {FILE} in it. Make one: orchestrator init {folder}"
        )
    start = start.absolute()
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            return folder
    raise NotFound(
        f"there is no site here: neither {start} nor a folder above it holds {FILE}. "
        f"Go to one, name one with {PREFIX}SITE, or make one: orchestrator init DIR"
    )


def load_settings(site: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of a site. Raises InvalidInput with every mistake at once."""
    environ = os.environ if environ is None else environ
    site = site.absolute()
    reading = Reading(site / FILE)
    top = Table(_read(site / FILE), (), reading)
    _override(top, environ)
    settings = _settings(top, site, environ)
    _check_variables(environ, reading)
    if reading.mistakes:
        count = "one mistake" if len(reading.mistakes) == 1 else f"{len(reading.mistakes)} mistakes"
        mistakes = sorted(reading.mistakes, key=lambda mistake: (mistake.file, mistake.line))
        raise InvalidInput(f"the settings of {site} cannot be used; correct {count}:", mistakes)
    return settings


def _read(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_bytes().decode())
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line, column = (int(at[1]), int(at[2])) if at else (0, 0)
        said = str(error).partition(" (at ")[0]
        raise InvalidInput(f"{file} is not TOML:", [Mistake(str(file), line, column, said)]) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read: {error}") from error


def _settings(top: Table, site: Path, environ: Mapping[str, str]) -> Settings:
    name = top.table("site").name("name")
    paths, database, ansible = top.table("paths"), top.table("database"), top.table("ansible")
    evidence, limits, secrets = top.table("evidence"), top.table("limits"), top.table("secrets")
    state = paths.path("state", outside=True) or _default_state(name, environ)
    forks = ansible.number("forks", 20, 500)
    settings = Settings(
        site=site,
        name=name,
        state=state,
        database=Database(url=_url(database, state), password=database.reference("password")),
        forks=forks,
        installations={part.key: _installation(part) for part in ansible.table("installations").tables()},
        vault_password=ansible.reference("vault_password"),
        secrets={key: found for key in secrets.left() if (found := secrets.reference(key))},
        rollback={part.key: _provider(part) for part in top.table("rollback").tables()},
        notify={part.key: _notifier(part) for part in top.table("notify").tables()},
        checkpoint_file=evidence.path("checkpoint_file"),
        signing_key=_signing_key(evidence, state),
        limits=_limits(limits, forks),
        lost_after=_lost_after(top.table("hosts")),
        retention=_retention(top.table("retention")),
        log=_log(top.table("log")),
        traces=_traces(top.table("telemetry")),
        listen=_listen(top.table("web")),
    )
    for table in (paths, database, ansible, evidence, limits, top.table("site"), top):
        table.refuse_the_rest()
    return settings


def _default_state(name: str, environ: Mapping[str, str]) -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/patch-orchestrator") / name
    named = Path(environ.get("XDG_STATE_HOME", ""))
    # A relative XDG_STATE_HOME is to be ignored (XDG Base Directory Specification).
    home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    return (named if named.is_absolute() else home / ".local/state") / "patch-orchestrator" / name


def _url(table: Table, state: Path) -> str:
    url = table.text("url") or f"sqlite:///{state}/orchestrator.db"
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        table.wrong("url", "is no address; write postgresql+psycopg://USER@HOST/NAME or sqlite:////PATH")
        return url
    if parts.scheme not in {"sqlite", "postgresql+psycopg"}:
        table.wrong("url", f"begins with {parts.scheme!r}; there are sqlite and postgresql+psycopg")
    elif password or "password=" in parts.query:
        table.wrong("url", 'holds a password; take it out and write password = {env = "NAME"} beside it')
    elif parts.scheme == "sqlite" and (parts.netloc or not parts.path.startswith("//")):
        table.wrong("url", "names no absolute path; write sqlite:////PATH (four slashes)")
    return url


def _signing_key(table: Table, state: Path) -> Path:
    key = table.path("key", outside=True) or state / SIGNING_KEY
    if key.name != SIGNING_KEY:
        table.wrong("key", f"has to be called {SIGNING_KEY}; its history and its successor lie beside it")
    return key


def _provider(table: Table) -> CommandProvider:
    if table.key == "packages":
        table.wrong("", "is the name of a provider that is always there; choose another one")
    provider = CommandProvider(
        name=table.key,
        take=table.words("take", required=True),
        restore=table.words("restore", required=True),
        release=table.words("release", required=True),
        exists=table.words("exists"),
        rollback_class=RollbackClass(table.choice("class", tuple(RollbackClass), RollbackClass.EXACT)),
        timeout=table.seconds("timeout", 600),
        parallel=table.number("parallel", 4, 100),
    )
    table.refuse_the_rest()
    return provider


def _installation(table: Table) -> Path:
    if table.key == OWN_INSTALLATION:
        table.wrong("", "is the controller's own installation, which is always there; choose another name")
    path = table.path("path")
    if path is None:
        table.wrong("path", 'is missing: name the virtual environment, such as "/opt/ansible-2.16"')
    table.refuse_the_rest()
    return path or Path()


def _limits(table: Table, forks: int) -> Limits:
    """Read the limits; ``forks`` are those of one Ansible run, and each may have them where nothing else is said."""
    jobs = table.number("jobs", 4, 64)
    throttle = table.table("throttle")
    limits = Limits(
        jobs=jobs,
        forks=table.number("forks", forks * jobs, 5000),
        free_memory=table.number("free_memory", 256, 1 << 20),
        throttle={key: throttle.number(key, 1, 10_000) for key in throttle.left()},
    )
    if limits.forks < jobs:
        table.wrong("forks", f"has to be {jobs} or more, one for each of the {jobs} runs of limits.jobs")
    return limits


def _lost_after(table: Table) -> timedelta | None:
    length = timedelta(seconds=table.seconds("lost_after", 0))
    if timedelta(0) < length < SHORTEST_SILENCE:
        table.wrong("lost_after", "is shorter than 10s, and no host comes back as soon as that")
    table.refuse_the_rest()
    return length or None


def _retention(table: Table) -> RetentionPolicy:
    usual = RetentionPolicy()
    keep = timedelta(seconds=table.seconds("keep", int(usual.keep.total_seconds())))
    at_least = timedelta(seconds=table.seconds("at_least", int(min(usual.at_least, keep).total_seconds())))
    if at_least > keep:
        table.wrong("at_least", "is longer than retention.keep, so that size could never shorten it")
    policy = RetentionPolicy(keep=keep, at_least=at_least, size=table.size("size"))
    table.refuse_the_rest()
    return policy


def _log(table: Table) -> LogSettings:
    form = table.choice("format", tuple(LogForm), LogForm.TEXT)
    level = table.choice("level", tuple(LogLevel), LogLevel.INFO)
    table.refuse_the_rest()
    return LogSettings(form=LogForm(form), level=LogLevel(level))


def _traces(table: Table) -> str:
    endpoint = table.text("endpoint")
    if endpoint and not re.fullmatch(r"https?://[^\s/@?#]+/\S*", endpoint):
        table.wrong("endpoint", "is no address of a collector; write http://HOST:4318/v1/traces, without a password")
    table.refuse_the_rest()
    return endpoint


def _listen(table: Table) -> Address | None:
    said = table.text("listen") or _LISTEN
    found = Address.of(said)
    if found is None and said != "none":
        table.wrong("listen", f'has to be a port, an address and a port such as "{_LISTEN}", or "none", not {said!r}')
    table.refuse_the_rest()
    return found


def _notifier(table: Table) -> NotifierSettings:
    kind = table.text("kind") or table.key
    events = table.words("events") or ("*",)
    options, secrets = {}, {}
    for key in table.left():
        if table.holds_a_table(key):
            if found := table.reference(key):
                secrets[key] = found
        else:
            options[key] = table.scalar(key)
    return NotifierSettings(name=table.key, kind=kind, events=events, options=options, secrets=secrets)


def _override(top: Table, environ: Mapping[str, str]) -> None:
    for variable, (section, key) in _VARIABLES.items():
        if variable in environ:
            given = environ[variable]
            number = (section, key) in _NUMBERS and re.fullmatch(r"[0-9]{1,6}", given)
            top.put(section, key, int(given) if number else given, variable)


def _check_variables(environ: Mapping[str, str], reading: Reading) -> None:
    """Refuse a variable that looks like a setting and is none: a slip of the pen would otherwise go unnoticed."""
    sections = tuple({f"{PREFIX}{section.upper()}_" for section, _ in _VARIABLES.values()})
    for variable in environ:
        if variable.startswith(sections) and variable not in _VARIABLES and variable not in reading.variables:
            said = f"is no setting{nearest(variable, _VARIABLES)}"
            reading.mistakes.append(Mistake(f"the environment variable {variable}", 0, 0, said))
