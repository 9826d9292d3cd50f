"""Ids as AWS makes them."""

from __future__ import annotations

import secrets


def new_id(prefix: str) -> str:
    """Return a fresh id such as `vpc-0123456789abcdef0`."""
    return f"{prefix}-0{secrets.token_hex(8)}"


def short_hash() -> str:
    """Return sixteen fresh hexadecimal digits."""
    return secrets.token_hex(8)
