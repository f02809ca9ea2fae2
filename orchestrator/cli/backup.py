"""``orchestrator backup``: the database in one file, proved to be readable, and the way back to it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.context import actor_for, site_of
from orchestrator.cli.output import AsJson, Yes, answer, facts, needs_yes, say, warn
from orchestrator.domain.backup import TOKEN, Checked
from orchestrator.domain.canonical import Plain, plain
from orchestrator.domain.identity import Action
from orchestrator.errors import EvidenceRefused
from orchestrator.flow import backing_up
from orchestrator.flow.backing_up import Outlook

app = typer.Typer(no_args_is_help=True, help="Backups of the database.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")]


@app.command("create")
def create(
    context: typer.Context,
    target: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="A new file, or a folder for one that is named.")],
    as_json: AsJson = False,
) -> None:
    """Write the database into one file, and read it back. Everybody may go on working meanwhile."""
    site = site_of(context)
    actor = actor_for(site, Action.OPERATE)
    now = site.clock.now()
    file = target / f"{site.settings.name}-{now:%Y%m%dT%H%M%SZ}.tar.gz" if target.is_dir() else target
    checked = site.backups.create(file.absolute(), now)
    site.ledger.note("", "backup-created", actor=actor, data={"file": file.name, "sha256": checked.sha256})
    if as_json:
        answer(_told(checked) | {"file": str(file), "size": file.stat().st_size})
        return
    say(f"{file} ({file.stat().st_size >> 10} KiB), read back and whole.", style="green")
    say("It holds the database alone. Keep the signing key, site.key and the site's repository as safe.", style="dim")


@app.command("check")
def check(context: typer.Context, file: File, as_json: AsJson = False) -> None:
    """Prove that a backup can be read: the database in it whole, every chain, every head as the manifest says."""
    checked = site_of(context).backups.check(file)
    if as_json:
        answer(_told(checked))
    else:
        _show(checked)
    if checked.problems:
        raise EvidenceRefused("\n".join([f"{file} does not hold:", *(f"  {problem}" for problem in checked.problems)]))
    if not as_json:
        say("It is whole: the database can be read, and every chain with it.", style="green")


@app.command("restore")
def restore(
    context: typer.Context,
    file: File,
    over: Annotated[
        bool, typer.Option("--over", help="Even where the database holds something; the old one is kept aside.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup in the place of the database, and say which changes went back in time."""
    site = site_of(context)
    actor = actor_for(site, Action.OPERATE)
    outlook = backing_up.look(file, site.backups, site.traces())
    if not as_json:
        _show(outlook.checked)
        _warn_of(outlook)
    at_work = [*site.carriers.at_work(), *site.holdings.at_work()]
    backing_up.require_room(outlook, over=over, at_work=at_work)
    if as_json and not yes:
        answer(_told(outlook.checked) | _outcome(outlook) | {"kept": "", "restored": False})
        return
    if not needs_yes(yes, "Put it in the place of the database"):
        return
    kept = backing_up.restore(file, outlook, actor, site.backups, at=site.clock.now(), reopen=lambda: site.ledger)
    if as_json:
        answer(_told(outlook.checked) | _outcome(outlook) | {"kept": kept, "restored": True})
        return
    say(f"The database is that of {outlook.checked.manifest.made_at:%Y-%m-%d %H:%M:%SZ} again.", style="green")
    if kept:
        say(f"The one before is kept in {kept}")
    say(f"Tokens go on from {outlook.counters[TOKEN]}. Next: orchestrator doctor; orchestrator status")


def _show(checked: Checked) -> None:
    manifest = checked.manifest
    contents = manifest.contents
    facts(
        [
            ("made", f"{manifest.made_at:%Y-%m-%d %H:%M:%SZ} of site {manifest.site}, by version {manifest.version}"),
            ("database", f"{manifest.kind}, schema {contents.schema}, {manifest.size >> 10} KiB"),
            ("holds", f"{len(contents.changes)} changes, {sum(c.count for c in contents.chains)} audit events"),
        ]
    )


def _warn_of(outlook: Outlook) -> None:
    for each in outlook.back:
        now = f"{each.now.state} again" if each.now else "not known any more"
        warn(f"{each.change} is {each.was.state} now and would be {now}")
    back = {each.change for each in outlook.back}
    for change in outlook.since:
        if change not in back:
            warn(
                f"{change}: work was done on its hosts after the backup was made; ask them: orchestrator host reconcile"
            )


def _told(checked: Checked) -> dict[str, Plain]:
    manifest = plain(checked.manifest)
    assert isinstance(manifest, dict)
    return {"sha256": checked.sha256, "manifest": manifest, "problems": list(checked.problems)}


def _outcome(outlook: Outlook) -> dict[str, Plain]:
    return {
        "back": [plain(each) for each in outlook.back],
        "worked_since": list(outlook.since),
        "counters": dict(outlook.counters),
    }
