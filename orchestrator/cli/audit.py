"""``orchestrator audit``: the trail, and evidence that can be verified without us."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.context import actor_for, site_of
from orchestrator.cli.output import AsJson, Yes, answer, coloured, needs_yes, say, table
from orchestrator.domain.audit import SITE
from orchestrator.domain.evidence import Standing, Verdict
from orchestrator.domain.identity import Action
from orchestrator.flow import evidencing
from orchestrator.wiring import verify_file

#: Whole digests are in --json and in the bundle; people compare the first digits.
_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
#: So many characters of a value are shown; all of it is in --json and in the bundle.
_LONGEST_REASON = 1000
_LONGEST_LIST = 120

app = typer.Typer(no_args_is_help=True, help="The audit trail, and evidence bundles.")


@app.command("trail")
def trail(
    context: typer.Context,
    change_id: Annotated[
        str, typer.Argument(metavar="[ID]", help="A change; without one, the site's own chain.")
    ] = SITE,
    as_json: AsJson = False,
) -> None:
    """Show the audit trail of a change, or of the site."""
    site = site_of(context)
    if change_id != SITE:
        site.ledger.store.change(change_id)
    events = site.ledger.store.trail(change_id)
    if as_json:
        answer(events)
        return
    rows = [
        (
            str(e.seq),
            f"{e.at:%Y-%m-%d %H:%M:%SZ}",
            e.actor,
            e.tag,
            coloured(e.outcome),
            _told(dict(e.data)),
            e.hash[:10],
        )
        for e in events
    ]
    table(("seq", "at", "actor", "event", "outcome", "data", "hash"), rows)


@app.command("verify")
def verify(
    context: typer.Context,
    bundle: Annotated[
        Path | None, typer.Argument(metavar="[BUNDLE]", help="Without one: every chain of the database.")
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option("--key", help="Pinned public key (PEM file) or sha256:… fingerprint.")
    ] = None,
    history: Annotated[
        Path | None, typer.Option("--history", help="key-history.json, to follow from a pinned older key.")
    ] = None,
    checkpoints: Annotated[
        Path | None, typer.Option("--checkpoints", help="Checkpoints that you received outside.")
    ] = None,
    signers: Annotated[
        Path | None, typer.Option("--signers", help="People's keys that you hold yourself (allowed_signers).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify a bundle offline, against a key that you pinned beforehand; or the chains of the database."""
    if bundle is not None:
        verdicts = [verify_file(bundle, key or [], history=history, checkpoints=checkpoints, signers=signers)]
    else:
        site = site_of(context)
        verdicts = [site.verify_trail(head.chain) for head in site.ledger.store.heads()]
    if as_json:
        answer(
            [
                {
                    "subject": v.subject,
                    "standing": v.standing,
                    "removed": v.removed,
                    "findings": [str(f) for f in v.findings],
                }
                for v in verdicts
            ]
        )
    for verdict in verdicts:
        if not as_json and verdict.standing is Standing.VERIFIED:
            _good(verdict)
    for verdict in verdicts:
        verdict.require()


@app.command("export")
def export(
    context: typer.Context,
    change_id: Annotated[str, typer.Argument(metavar="ID")],
    to: Annotated[
        Path | None, typer.Option("--to", help="File or folder; by default the state folder's bundles.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the evidence bundle of a change."""
    site = site_of(context)
    actor = actor_for(site, Action.EXPORT)
    folder = to or site.settings.state / "bundles"
    target = folder if folder.suffix == ".gz" else folder / f"{change_id}.tar.gz"
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = evidencing.export(change_id, target, actor, site.settings.state, ledger=site.ledger, notary=site.notary)
    public = site.settings.signing_key.parent / "signing-key.pub.pem"
    if as_json:
        answer({"bundle": str(written), "size": written.stat().st_size, "key": site.notary.key.public.fingerprint})
        return
    say(f"{written} ({written.stat().st_size >> 10} KiB), signed by {site.notary.key.public.fingerprint}")
    say(f"Verify it anywhere: orchestrator audit verify {written.name} --key {public}", style="dim")


@app.command("checkpoint")
def checkpoint(context: typer.Context) -> None:
    """Sign the heads of all chains now, and send the checkpoint outside."""
    site = site_of(context)
    actor_for(site, Action.EXPORT)
    _, document, _ = evidencing.sign_heads(site.ledger, site.notary)
    say(document.decode())


@app.command("rotate-key")
def rotate_key(context: typer.Context, yes: Yes = False) -> None:
    """Replace the key that signs evidence by a new one, which the old one signs."""
    site = site_of(context)
    actor = actor_for(site, Action.TRUST)
    say(f"Evidence is signed by {site.notary.key.public.fingerprint} now.")
    if not needs_yes(yes, "Replace it by a new key; the old private key is gone afterwards"):
        return
    fingerprint = site.rotate_key()
    site.ledger.note("", "key-rotated", actor=actor, data={"key": fingerprint})
    say(f"From now on it is signed by {fingerprint}. Give auditors key-history.json, from beside the key.")


def _good(verdict: Verdict) -> None:
    signer = f", signed by {verdict.signer}" if verdict.signer else ""
    say(f"{verdict.subject}: verified{signer}; {verdict.events} events, head {verdict.head[:12]}", style="green")
    if verdict.removed:
        say(f"{verdict.removed} files of task events were removed after the change had ended, as its trail says.")


def _told(data: dict[str, object]) -> str:
    data.pop("artifacts", None)  # Long digests: in --json and in the bundle.
    return ", ".join(f"{key}={_short(value)}" for key, value in data.items() if value not in ("", [], {}))


def _short(value: object) -> str:
    """Return a value as people read it: a list cut early, a reason only where it is a page of its own."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    longest = _LONGEST_REASON if text is value else _LONGEST_LIST
    text = _DIGEST.sub(r"\1…", text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
