"""Does a web service answer as it should.

Options: ``url`` (needed) with ``{host}`` and ``{address}``; ``status`` (default 200; several as ``200,204``);
``contains`` (a text that the first MiB of the answer must hold); ``redirects`` (``same-host``, the default: those to
the same host are followed; ``anywhere``; ``never``); ``verify`` (default yes: the certificate must hold) and
``ca_file`` (the certificates to trust instead of the system's); ``timeout``, ``retries``, ``delay``. Proxies of the
environment are not used: it is this host that is asked.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from orchestrator.adapters.health.asking import Answer, Asking, ask_all
from orchestrator.adapters.health.options import Options, Patience, filled, listed, one_of, yes_or_no
from orchestrator.domain.health import HealthCheck, HealthReport
from orchestrator.domain.inventory import Host

_READ = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The options, understood."""

    url: str
    statuses: frozenset[int]
    contains: str
    opener: OpenerDirector
    patience: Patience


class HttpCheck:
    """Fetches a page of each host; implements ``ports.ServiceCheck``."""

    def __init__(self, asking: Asking | None = None) -> None:
        self._asking = asking or Asking()

    def check(self, hosts: Sequence[Host], check: HealthCheck) -> Sequence[HealthReport]:
        """Return one report per host. Raises InvalidInput where the options make no sense."""
        asked = _understood(check)
        return ask_all(hosts, check, lambda host: _ask(host, asked), asked.patience, self._asking)


def _understood(check: HealthCheck) -> _Asked:
    options = Options(check=check)
    url = options.needed("url", _url, "", "an http:// or https:// address without user and password")
    statuses = options.parsed("status", _statuses, frozenset({200}), "status codes, such as 200 or 200,204")
    contains = options.text("contains")
    ways = ("same-host", "anywhere", "never")
    redirects = options.parsed("redirects", one_of(*ways), "same-host", f"one of {', '.join(ways)}")
    verify = options.parsed("verify", yes_or_no, True, "yes or no")
    trust = _trust(options, verify=verify)
    patience = options.patience()
    options.done()
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=trust), _Redirects(redirects, statuses))
    return _Asked(url=url, statuses=statuses, contains=contains, opener=opener, patience=patience)


def _trust(options: Options, *, verify: bool) -> ssl.SSLContext:
    ca_file = options.text("ca_file")
    context = ssl.create_default_context()
    if ca_file:
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except OSError as error:  # ssl.SSLError is one
            options.mistakes.append(f"ca_file {ca_file} holds no certificates that can be read: {error.strerror}")
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
        raise ValueError(text)
    return text


def _statuses(text: str) -> frozenset[int]:
    return frozenset(int(code) for code in listed(text))


def _ask(host: Host, asked: _Asked) -> Answer:
    url = filled(asked.url, host, in_url=True)
    # A query may hold a token: what is shown goes without it.
    shown = url.split("?", 1)[0]
    try:
        # _url and _Redirects let nothing but http and https pass.
        with asked.opener.open(Request(url), timeout=asked.patience.timeout) as response:  # noqa: S310
            status, body = response.status, response.read(_READ if asked.contains else 0)
    except HTTPError as error:
        with error:
            status, body = error.code, error.read(_READ if asked.contains else 0)
    except (URLError, HTTPException, OSError, ValueError) as error:
        return Answer(passed=False, detail=f"{shown}: {_in_words(error, asked.patience)}")
    if status not in asked.statuses:
        wanted = ", ".join(map(str, sorted(asked.statuses)))
        return Answer(passed=False, detail=f"{shown} answered {status}, not {wanted}")
    if asked.contains.encode() not in body:
        return Answer(passed=False, detail=f"{shown} answered {status}, but without {asked.contains!r}")
    return Answer(passed=True, detail=f"{shown} answered {status}")


def _in_words(error: Exception, patience: Patience) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, TimeoutError):
        return f"no answer within {patience.timeout:g} s"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate does not hold: {reason.verify_message}"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror.lower()
    return str(reason) or type(reason).__name__


class _Redirects(HTTPRedirectHandler):
    """Follows a redirect only where that was asked for; otherwise the redirect is the answer."""

    def __init__(self, ways: str, statuses: frozenset[int]) -> None:
        self._ways = ways
        self._statuses = statuses

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        """Return the request to go on with, or None."""
        target = urlsplit(newurl)
        elsewhere = target.hostname != urlsplit(req.full_url).hostname
        if self._ways == "never" or code in self._statuses or (elsewhere and self._ways != "anywhere"):
            return None
        if target.scheme not in ("http", "https"):
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
