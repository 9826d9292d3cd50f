"""`byoc keys`: the key ring that encrypts what Temporal keeps. No command ever prints a key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from domain.model import Model
from starters.cli.asking import ask
from starters.cli.errors import Exit, fail, stderr
from starters.cli.output import Format, FormatOption, ago, print_data, print_rows, stdout
from starters.key_usage import KeyUsage, key_usage
from workflows.temporal import key_ring
from workflows.temporal.key_ring import KeyRing
from workflows.temporal.settings import UNENCRYPTED

app = typer.Typer(
    help="Keys that encrypt what Temporal keeps: make, list, rotate, check.", no_args_is_help=True, add_completion=False
)

File = Annotated[Path, typer.Option("--file", envvar="BYOC_ENCRYPTION_KEYS", help="the key ring's file")]


class ListedKey(Model):
    """A key without its secret."""

    id: str
    fingerprint: str
    created: str
    use: str


@app.command()
def new(file: File) -> None:
    """Make a key ring with one key, in a file that only you may read. A file that is there already stays.

    Whoever loses the ring loses what is encrypted with it: keep a copy where secrets are kept.

    Example: byoc keys new --file /etc/byoc/keys.json
    """
    ring = key_ring.make(file)
    stdout.print(f"Key ring {file}: key {ring.first.id} encrypts.", markup=False, soft_wrap=True)
    stdout.print(
        f"Set BYOC_ENCRYPTION_KEYS={file} on every worker and client, and keep a copy of the file where secrets are "
        "kept: what is encrypted with a lost key cannot be read again.",
        markup=False,
        soft_wrap=True,
    )


@app.command("list")
def list_keys(file: File, output: FormatOption = Format.TABLE) -> None:
    """List the keys of a ring: their ids and fingerprints, never the keys.

    Example: byoc keys list --file /etc/byoc/keys.json
    """
    _show(key_ring.read(file), output)


@app.command()
def rotate(
    file: File,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="add a key that only decrypts for now, so that every reader learns it")
    ] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Let another key encrypt from now on; every older key stays and decrypts.

    Where several machines have the ring, rotate in two steps, with the file distributed after each: `--prepare` adds a
    key that only decrypts; once every worker and client has it, a rotation puts it in front.

    Example: byoc keys rotate --prepare --file /etc/byoc/keys.json
    """
    _show(key_ring.rotate(file, prepare=prepare), output)


@app.command()
def check(
    file: File,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="workflows to look at, the open ones first")] = 1_000,
    output: FormatOption = Format.TABLE,
) -> None:
    """Say which keys the workflows that Temporal keeps still need, and which the ring lacks.

    It reads the histories' metadata and decrypts nothing. A key that is not needed any more may be taken out of the
    file. Exit code 1 if a needed key is missing.

    Example: byoc keys check --file /etc/byoc/keys.json -o json
    """
    ring = key_ring.read(file)
    usage = ask(lambda plane: key_usage(plane.client, ring, limit=limit), encryption=UNENCRYPTED)
    if output is Format.TABLE:
        _show_usage(usage)
    else:
        print_data(usage, output)
    if missing := [use for use in usage.keys if not use.known]:
        named = ", ".join(f"{use.id} (fingerprint {use.fingerprint}, {use.example})" for use in missing)
        fail(f"the key ring {file} lacks keys that are needed: {named}", Exit.FAILED)


def _show(ring: KeyRing, output: Format) -> None:
    prepared = ring.prepared
    keys = [
        ListedKey(
            id=key.id,
            fingerprint=key.fingerprint,
            created=key.created.isoformat(timespec="seconds"),
            use="encrypts" if key is ring.first else "prepared" if key is prepared else "decrypts",
        )
        for key in ring.keys
    ]
    if output is not Format.TABLE:
        print_data(keys, output)
        return
    print_rows(
        ("ID", "FINGERPRINT", "USE", "AGE"),
        [
            (shown.id, shown.fingerprint, shown.use, ago(key.created))
            for shown, key in zip(keys, ring.keys, strict=True)
        ],
        empty="",
    )


def _show_usage(usage: KeyUsage) -> None:
    print_rows(
        ("ID", "FINGERPRINT", "OPEN", "ENDED", "VERDICT"),
        [
            (
                use.id,
                use.fingerprint,
                str(use.open_workflows),
                str(use.closed_workflows),
                "missing in the ring"
                if not use.known
                else "encrypts"
                if use.encrypts
                else "needed"
                if use.needed or not usage.complete
                else "not needed",
            )
            for use in usage.keys
        ],
        empty="",
    )
    stdout.print(
        f"{usage.workflows} workflows were looked at; {usage.plain_workflows} hold payloads that are not encrypted.",
        markup=False,
    )
    if not usage.complete:
        stderr.print("There are more workflows than --limit: no key can be said to be needless.", markup=False)
