"""Rendezvous hashing: which shard a key belongs to. Pure; the same on every machine.

Every shard's name gives a key a score, and the key belongs to the highest. Adding a shard moves
only the keys that it wins itself; taking one away moves only its own; nobody keeps a table.

The score is the first 8 bytes, big-endian, of BLAKE2b(name, NUL, key) with a digest of 8 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b


def score(name: str, key: str) -> bytes:
    """Return what a shard bids for a key; bids compare as bytes."""
    return blake2b(f"{name}\0{key}".encode(), digest_size=8).digest()


def owner(names: Iterable[str], key: str) -> str:
    """Return the name to which a key belongs; there must be at least one."""
    return max(names, key=lambda name: score(name, key))


def ranked(names: Iterable[str], key: str) -> list[str]:
    """Return all names, the key's owner first, then who would own it without that one, and on."""
    return sorted(names, key=lambda name: score(name, key), reverse=True)
