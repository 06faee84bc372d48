"""Status tokens: what a person shows who may follow one job, and no other, until a moment.

64 characters of base64url over 48 bytes:

    version 1    flags 1    expires 6    job id 16    the first 24 of an HMAC-SHA256 over these

Everything in it can be read by whoever holds it; nothing in it can be changed without a secret.
Pure: time is handed in.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence

import msgspec

from turnout.job import JobId

__all__ = ["Grant", "read", "sign"]

_PURPOSE = b"turnout status token\0"  # the same secret may sign other things elsewhere
_VERSION, _RESULT = 1, 1
_BODY = 24
_TOKEN = re.compile(r"[A-Za-z0-9_-]{64}", re.ASCII)


class Grant(msgspec.Struct, frozen=True):
    """What a token allows: to see one job until `expires_at`, its result too if `result`."""

    job_id: JobId
    expires_at: int  # seconds since the epoch
    result: bool = False


def sign(grant: Grant, secret: str) -> str:
    """Return the token of a grant; its job id is a UUID."""
    body = bytes((_VERSION, _RESULT * grant.result))
    body += grant.expires_at.to_bytes(6, "big") + bytes.fromhex(grant.job_id.replace("-", ""))
    return urlsafe_b64encode(body + _mac(body, secret)).decode()


def read(token: str, secrets: Sequence[str]) -> Grant | None:
    """Return what a token grants, expired or not; None for one that none of `secrets` signed."""
    if not _TOKEN.fullmatch(token):
        return None
    raw = urlsafe_b64decode(token)
    body, mac = raw[:_BODY], raw[_BODY:]
    # All are tried, so that the time tells nobody which of them fitted.
    if not sum([hmac.compare_digest(_mac(body, secret), mac) for secret in secrets]):
        return None
    if body[0] != _VERSION:
        return None
    digits = body[8:].hex()
    marks = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    expires_at = int.from_bytes(body[2:8], "big")
    return Grant(JobId("-".join(marks)), expires_at, bool(body[1] & _RESULT))


def _mac(body: bytes, secret: str) -> bytes:
    return hmac.digest(secret.encode(), _PURPOSE + body, "sha256")[:_BODY]
