"""PostgreSQL's own tools, pg_dump, pg_restore and psql: a consistent dump, and a restore in one transaction."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from orchestrator.adapters.store import tables as t
from orchestrator.adapters.store.contents import read_contents
from orchestrator.domain.backup import Contents, SignedCheckpoint
from orchestrator.errors import EvidenceRefused, Unavailable

#: What is read of a dump to check it: everything that the manifest speaks of, and the trails.
_CHECKED = (t.audit_event, t.chain, t.change, t.checkpoint, t.counter, t.setting)
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_BATCH = 1000
_DIALECT: sa.Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]


def dump(url: str, target: Path) -> Contents:
    """Write the database to a file in pg_dump's custom format; return what it held at that very moment."""
    engine = sa.create_engine(url, isolation_level="REPEATABLE READ", poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            # Both see one snapshot, so that the manifest is of this dump whatever is written meanwhile.
            snapshot = str(connection.execute(sa.text("SELECT pg_export_snapshot()")).scalar_one())
            contents = read_contents(connection)
            words = ("--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", f"--file={target}")
            _run("pg_dump", (*words, f"--dbname={_address(url)}"), url)
    finally:
        engine.dispose()
    return contents


def keep(url: str, target: Path) -> None:
    """Write the database to a file as it is, whatever state that is."""
    _run("pg_dump", ("--format=custom", f"--file={target}", f"--dbname={_address(url)}"), url)


def restore(
    url: str, dump: Path, script: Path, *, counters: Mapping[str, int], checkpoint: SignedCheckpoint | None
) -> None:
    """Replace what is in the database by the dump, counters and checkpoint included, in one transaction."""
    _run("pg_restore", ("--clean", "--if-exists", "--no-owner", "--no-privileges", f"--file={script}", str(dump)), url)
    with script.open("a") as file:
        file.write("\nRESET search_path;\n")  # The dump has emptied it.
        for statement in _statements(counters, checkpoint):
            compiled = statement.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True})
            file.write(f"{compiled};\n")
    words = ("--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1", f"--file={script}")
    _run("psql", (*words, f"--dbname={_address(url)}"), url)


def _statements(counters: Mapping[str, int], checkpoint: SignedCheckpoint | None) -> Iterator[sa.Delete | sa.Insert]:
    for name, value in counters.items():
        yield sa.delete(t.counter).where(t.counter.c.name == name)
        yield sa.insert(t.counter).values(name=name, value=value)
    if checkpoint is not None:
        document, signature = (
            sa.func.decode(raw.hex(), "hex", type_=sa.LargeBinary())
            for raw in (checkpoint.document, checkpoint.signature)
        )
        yield sa.insert(t.checkpoint).values(seq=checkpoint.seq, document=document, signature=signature)


def unpack(dump: Path, text: Path, database: Path) -> None:
    """Read what a check needs of a dump into an SQLite file; no server is asked. Raises EvidenceRefused."""
    names = [*(table.name for table in _CHECKED), "alembic_version"]
    tables = [f"--table={name}" for name in names]
    _run("pg_restore", ("--data-only", *tables, f"--file={text}", str(dump)), "")
    engine = sa.create_engine(f"sqlite:///{database}", poolclass=sa.NullPool)
    try:
        t.metadata.create_all(engine, tables=_CHECKED)
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE alembic_version (version_num TEXT)"))
            version = sa.table("alembic_version", sa.column("version_num"))
            known: dict[str, sa.TableClause] = {table.name: table for table in _CHECKED}
            for name, rows in _copied(text):
                connection.execute(sa.insert(known.get(name, version)), rows)
    finally:
        engine.dispose()


def _copied(text: Path) -> Iterator[tuple[str, list[dict[str, object]]]]:
    """Give the rows of COPY's text format, table by table, some at once."""
    with text.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            if not (line.startswith("COPY ") and line.endswith(" FROM stdin;\n")):
                continue
            name, _, columns = line.removeprefix("COPY ").removesuffix(") FROM stdin;\n").partition(" (")
            name = name.rpartition(".")[2].strip('"')
            keys, rows = [column.strip().strip('"') for column in columns.split(",")], []
            for row in lines:
                if row == "\\.\n":
                    break
                values = [_value(name, key, raw) for key, raw in zip(keys, row[:-1].split("\t"), strict=True)]
                rows.append(dict(zip(keys, values, strict=True)))
                if len(rows) == _BATCH:
                    yield name, rows
                    rows = []
            else:
                raise EvidenceRefused(f"the table {name} is cut off in the dump.")
            if rows:
                yield name, rows


def _value(table: str, column: str, raw: str) -> object:
    if raw == "\\N":
        return None
    text = _unescaped(raw) if "\\" in raw else raw
    known = t.metadata.tables.get(table)
    kind = known.c[column].type if known is not None else sa.Text()
    if isinstance(kind, sa.Integer):
        return int(text)
    return bytes.fromhex(text.removeprefix("\\x")) if isinstance(kind, sa.LargeBinary) else text


def _unescaped(raw: str) -> str:
    parts = iter(raw.split("\\"))
    found = [next(parts)]
    for part in parts:
        # Two backslashes in a row leave an empty part, and what follows the second one stands as it is.
        found.append(_ESCAPES.get(part[0], part[0]) + part[1:] if part else "\\" + next(parts, ""))
    return "".join(found)


def _address(url: str) -> str:
    """Return the address as libpq takes it, without the password: everybody can read a command line."""
    parts = sa.make_url(url)
    return sa.URL.create(
        "postgresql", parts.username, None, parts.host, parts.port, parts.database, parts.query
    ).render_as_string()


def _run(program: str, words: Sequence[str], url: str) -> None:
    path = shutil.which(program)
    if path is None:
        raise Unavailable(
            f"{program} is not installed here, and PostgreSQL is backed up with its own tools: "
            "install postgresql-client, of the server's version or newer."
        )
    password = sa.make_url(url).password if url else None
    variables = os.environ | ({"PGPASSWORD": str(password)} if password else {}) | {"PGCONNECT_TIMEOUT": "10"}
    done = subprocess.run(
        [path, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=variables, check=False
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()[0] if done.stderr.strip() else "it said nothing"
        raise Unavailable(f"{program} ended with {done.returncode}: {said}")
