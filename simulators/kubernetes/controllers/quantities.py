"""Kubernetes quantities (`250m`, `4Gi`) and numbers that may be percentages (`25%`)."""

from __future__ import annotations

import math

_SUFFIXES = {
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
    "Pi": 2.0**50,
}


def amount(quantity: str | float) -> float:
    """Return the plain number that a quantity stands for: cores for CPU, bytes for memory and storage.

    Raises ValueError for what is not a quantity.
    """
    text = str(quantity)
    for length in (2, 1):
        factor = _SUFFIXES.get(text[-length:])
        if factor is not None:
            return float(text[:-length]) * factor
    return float(text)


def share(number: int | str, total: int, *, round_up: bool) -> int:
    """Return `number` itself, or that percentage of `total` rounded as asked (surge up, unavailability down)."""
    if isinstance(number, int):
        return number
    if not number.endswith("%"):
        return int(number)
    exact = total * int(number[:-1]) / 100
    return math.ceil(exact) if round_up else math.floor(exact)
