"""`byoc codec`: the endpoint through which Temporal's UI and CLI read encrypted payloads, and the tokens it takes."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from domain.model import Model
from starters.cli.errors import BadInput, Exit, fail
from starters.cli.output import Format, FormatOption, duration, print_data, print_rows, stdout
from workflows.temporal import logs
from workflows.temporal.settings import read_encryption

app = typer.Typer(
    help=(
        "Serve the endpoint through which Temporal's UI and CLI read encrypted payloads.\n\n"
        "It decrypts with the key ring of BYOC_ENCRYPTION_KEYS for who shows a token of `byoc codec token new`, an "
        "access token of your identity provider, or the session of a browser that logged in. Each request is logged: "
        "who read how many payloads of which namespace.\n\n"
        "Example: byoc codec --ui https://temporal.example.com --tokens /etc/byoc/codec-tokens.json"
    ),
    invoke_without_command=True,
    add_completion=False,
)
token = typer.Typer(
    help="Tokens of the codec endpoint: make, list, revoke.\n\nExample: byoc codec token new ada --days 30",
    no_args_is_help=True,
)
app.add_typer(token, name="token")

TokensFile = Annotated[Path, typer.Option("--file", envvar="BYOC_CODEC_TOKENS", help="the file of the tokens")]
_PARENT_CHECK_INTERVAL = 0.5
"""Seconds."""
_NOBODY = (
    "--tokens: missing; nobody could read anything. `byoc codec token new NAME --file PATH` makes the file; "
    "--jwks-url with --issuer and --audience takes access tokens instead"
)


class ListedToken(Model):
    """A token without anything that opens."""

    name: str
    expires: datetime


@app.callback()
def serve(
    context: typer.Context,
    address: Annotated[
        str, typer.Option(envvar="BYOC_CODEC_ADDRESS", help="IP address and port to serve at")
    ] = "127.0.0.1:8081",
    ui: Annotated[
        list[str] | None, typer.Option(envvar="BYOC_CODEC_UI", help="origin of the Temporal UI; repeat for several")
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option(envvar="BYOC_CODEC_TOKENS", help="file of the tokens that are taken")
    ] = None,
    jwks_url: Annotated[
        str, typer.Option(envvar="BYOC_CODEC_JWKS_URL", help="keys of the provider whose access tokens are taken")
    ] = "",
    issuer: Annotated[str, typer.Option(envvar="BYOC_CODEC_ISSUER", help="who must have issued an access token")] = "",
    audience: Annotated[str, typer.Option(envvar="BYOC_CODEC_AUDIENCE", help="whom it must be meant for")] = "",
    login_file: Annotated[
        Path | None, typer.Option(help="keep a link in this file that logs one browser in, for where nobody has tokens")
    ] = None,
    allow_encode: Annotated[bool, typer.Option("--allow-encode", help="serve /encode too")] = False,
    behind_https: Annotated[
        bool | None,
        typer.Option("--behind-https/--plain", help="whether browsers come by HTTPS (default: unless on loopback)"),
    ] = None,
    parent: Annotated[int | None, typer.Option(hidden=True, help="end when it is no longer the parent process")] = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    if context.invoked_subcommand is not None:
        return
    host, port = _checked_address(address)
    origins = tuple(_checked_origin(each) for each in ui or ())
    provider = {"--jwks-url": jwks_url, "--issuer": issuer, "--audience": audience}
    if any(provider.values()) and not all(provider.values()):
        missing = ", ".join(name for name, value in provider.items() if not value)
        raise BadInput([f"{missing}: missing; access tokens need all of {', '.join(provider)}"])
    if tokens is None and not jwks_url and login_file is None:
        raise BadInput([_NOBODY])
    codec = read_encryption().codec()
    if codec is None:
        raise BadInput(["BYOC_ENCRYPTION is off: there is nothing to decrypt"])
    try:
        import uvicorn  # noqa: PLC0415 - only where the endpoint is served it needs to be installed

        from starters.codec.access_tokens import AccessTokens  # noqa: PLC0415 - as above
        from starters.codec.server import CodecServer  # noqa: PLC0415 - as above
        from starters.codec.sessions import LoginLink  # noqa: PLC0415 - as above
        from starters.codec.tokens import TokenFile  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        fail(f"{error.name} is not installed: pip install 'byoc[codec]'", Exit.FAILED)
        return
    url = f"http://{host}:{port}"
    server = CodecServer(
        codec=codec,
        ui_origins=origins,
        tokens=TokenFile(tokens) if tokens else None,
        access_tokens=AccessTokens(jwks_url, issuer, audience) if jwks_url else None,
        login_link=LoginLink(login_file, f"{url}/login") if login_file else None,
        encodes=allow_encode,
        secure=not ip_address(host).is_loopback if behind_https is None else behind_https,
    )
    logs.configure()
    if parent is not None:
        threading.Thread(target=_end_without, args=(parent,), daemon=True).start()
    uvicorn.run(
        server.application(), host=host, port=port, access_log=False, log_config=None, proxy_headers=False,
        server_header=False,
    )  # fmt: skip


@token.command()
def new(
    name: Annotated[str, typer.Argument(help="who reads with it", metavar="NAME")],
    file: TokensFile,
    days: Annotated[int, typer.Option(help="days until it expires, at most 365")] = 90,
    output: FormatOption = Format.TABLE,
) -> None:
    """Make a token and show it, once. The file keeps its digest.

    Example: byoc codec token new ada --days 30 --file /etc/byoc/codec-tokens.json
    """
    from starters.codec.tokens import issue  # noqa: PLC0415 - as in `serve`

    try:
        given, made = issue(file, name, lifetime=timedelta(days=days))
    except ValueError as error:
        raise BadInput([error]) from error
    if output is not Format.TABLE:
        print_data({"token": given, "name": made.name, "expires": made.expires.isoformat()}, output)
        return
    stdout.print(given, markup=False, soft_wrap=True)
    stdout.print(f"This is the only time that the token is shown. It expires on {made.expires:%Y-%m-%d}.")


@token.command("list")
def list_tokens(file: TokensFile, output: FormatOption = Format.TABLE) -> None:
    """List whose tokens there are.

    Example: byoc codec token list --file /etc/byoc/codec-tokens.json
    """
    from starters.codec.tokens import read  # noqa: PLC0415 - as in `serve`

    listed = [ListedToken(name=each.name, expires=each.expires) for each in read(file).tokens]
    if output is not Format.TABLE:
        print_data(listed, output)
        return
    _print_tokens(listed)


@token.command()
def revoke(name: Annotated[str, typer.Argument(help="whose token", metavar="NAME")], file: TokensFile) -> None:
    """Make a token worthless, within a second.

    Example: byoc codec token revoke ada --file /etc/byoc/codec-tokens.json
    """
    from starters.codec import tokens  # noqa: PLC0415 - as in `serve`

    if not tokens.revoke(file, name):
        known = ", ".join(each.name for each in tokens.read(file).tokens) or "none"
        fail(f"{name!r} has no token (there are: {known})", Exit.FAILED)
    stdout.print(f"The token of {name} is revoked.", markup=False)


def _print_tokens(listed: Sequence[ListedToken]) -> None:
    now = datetime.now(UTC)
    print_rows(
        ("NAME", "EXPIRES IN"),
        [(each.name, duration(each.expires - now) if each.expires > now else "expired") for each in listed],
        empty="There are no tokens.",
    )


def _checked_address(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    with contextlib.suppress(ValueError):
        ip_address(host)
        if 0 < int(port) < 65536:
            return host, int(port)
    raise BadInput([f"--address: {address!r} is not an IP address and a port, such as 127.0.0.1:8081"])


def _checked_origin(origin: str) -> str:
    parts: Any = urlsplit(origin)
    if parts.scheme not in ("http", "https") or not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}":
        raise BadInput([f"--ui: {origin!r} is not an origin, such as https://temporal.example.com (without a path)"])
    return origin


def _end_without(parent: int) -> None:
    """End this process as soon as `parent` is no longer its parent; the kernel tells nobody but by this id."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_INTERVAL)
    os._exit(1)
