#!/usr/bin/python3
"""The service that the lab patches: it answers its version, and on /health whether it is well."""

import ctypes
import http.server
import os
import pathlib
import socket
import sys

VERSION = "@VERSION@"
BEHAVIOUR = "@BEHAVIOUR@"
LIBRARIES = [ctypes.CDLL(str(path)) for path in pathlib.Path("/usr/lib/labapp").glob("*.so")]


def read_settings() -> dict[str, str]:
    lines = pathlib.Path("/etc/labapp.conf").read_text().splitlines()
    pairs = [line.split("=", 1) for line in lines if "=" in line and not line.startswith("#")]
    return {name.strip(): value.strip() for name, value in pairs}


SETTINGS = read_settings()
LEGACY = SETTINGS.get("legacy") == "yes"


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers every path alike; a broken service answers 500."""

    def do_GET(self) -> None:
        broken = LEGACY and BEHAVIOUR == "breaks-service"
        body = "legacy mode is not supported any more\n" if broken else f"labapp {VERSION}\n"
        self.send_response(500 if broken else 200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *words: object) -> None:
        pass


def tell_systemd(word: str) -> None:
    """sd_notify(3): the service counts as started once it listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(word.encode(), address.replace("@", "\0", 1))


class Server(http.server.ThreadingHTTPServer):
    """Listens without asking for names."""

    def server_bind(self) -> None:
        # HTTPServer's own would look up the host's full name, for which a lab host has nobody to ask.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)


if LEGACY and BEHAVIOUR == "refuses-to-start":
    sys.exit("legacy mode is not supported any more")
with Server(("", int(SETTINGS.get("port", "8080"))), Answer) as server:
    tell_systemd("READY=1")
    server.serve_forever()
