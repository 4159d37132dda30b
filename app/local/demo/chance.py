"""Chance that repeats: a share that depends on nothing but what it is asked for."""

from hashlib import blake2b
from typing import Final

_RANGE: Final = 1 << 64


def share(*parts: object) -> float:
    """Return a number in [0, 1), the same for the same parts and evenly spread over different ones."""
    digest = blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / _RANGE


def between(low: float, high: float, *parts: object) -> float:
    """Return a number in [low, high) that depends on the parts alone."""
    return low + (high - low) * share(*parts)
