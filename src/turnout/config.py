"""Turnout's settings: one frozen value, checked as a whole.

Invariant: a `Config` made by `load` has no fault, and no message about one shows a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import PurePath
from typing import Any

import msgspec

from turnout.errors import CENTURY, ConfigError
from turnout.job import Retention

__all__ = [
    "DEFAULT_URL",
    "ENV_SECRET",
    "ENV_URL",
    "Config",
    "check_queue_name",
    "load",
    "redact",
]

ENV_URL, ENV_SECRET = "TURNOUT_URL", "TURNOUT_SECRET"
DEFAULT_URL = "sqlite:///jobs.db"
DAY = 86_400.0
MAX_AGE = CENTURY
OTHERS = "*"  # the key of `keep` for queues it does not name
SHORTEST_SECRET = 32  # characters
MAX_BYTES = 512 * 1024 * 1024  # every store's ceiling for one value, with room to spare

_QUEUE = re.compile(r"[A-Za-z0-9_.:/-]{1,100}", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:", re.ASCII)
_ITEM = re.compile(r"\s*[a-z][a-z0-9_-]{0,31}\s*=", re.ASCII)  # of a sharded URL
_SECRET = re.compile(
    r"([?&;][^=&;]*(?:pass|pwd|secret|token|key|auth|credential)[^=&;]*=)[^&;#]*", re.IGNORECASE
)


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """One application's settings. Sizes in bytes, ages in seconds, counts per queue."""

    url: str = DEFAULT_URL
    queues: tuple[str, ...] | None = None  # the only ones allowed; None: any
    default_queue: str = "default"
    max_payload: int = 1_048_576
    max_result: int = 65_536  # 0: no result is kept
    keep: float | dict[str, float] = DAY  # how long a success is remembered, or that per queue
    keep_count: int = 100_000
    dead_age: float = 180 * DAY
    dead_count: int = 10_000
    on_unavailable: str = "raise"  # or "buffer": jobs wait in the process while the store is away
    buffer_size: int = 10_000  # jobs
    buffer_path: str | None = None  # the folder where they outlive the process
    outbox: str | None = None  # URL of the SQL database whose transactions carry enqueues
    secret: tuple[str, ...] = ()  # signs status tokens; further ones are still accepted

    def __repr__(self) -> str:
        return f"<Config of {self.location}>"  # neither passwords nor secrets in a log

    def validate(self) -> list[str]:
        """Return every fault of these settings, in words; an empty list when there is none."""
        return [
            *_url_faults(self.url),
            *_queue_faults(self.queues, self.default_queue),
            *_whole_faults("max_payload", self.max_payload, 2, MAX_BYTES),
            *_whole_faults("max_result", self.max_result, 0, MAX_BYTES),
            *_keep_faults(self.keep, self.queues),
            *_whole_faults("keep_count", self.keep_count, 0, None),
            *_age_faults("dead_age", self.dead_age),
            *_whole_faults("dead_count", self.dead_count, 0, None),
            *_buffer_faults(self.on_unavailable, self.buffer_path),
            *_whole_faults("buffer_size", self.buffer_size, 1, None),
            *_outbox_faults(self.outbox, self.url),
            *_secret_faults(self.secret),
        ]

    def keep_for(self, queue: str) -> float:
        """Return the seconds for which a success of `queue` is remembered."""
        if isinstance(self.keep, dict):
            return self.keep.get(queue, self.keep.get(OTHERS, DAY))
        return self.keep

    @property
    def location(self) -> str:
        """The URL as it may be shown."""
        return redact(self.url)

    def retention(self) -> Retention:
        """Return what a store needs to know to prune."""
        return Retention(
            succeeded_count=self.keep_count, dead_age=self.dead_age, dead_count=self.dead_count
        )


def load(
    url: str | None = None, *, environ: Mapping[str, str] | None = None, **settings: Any
) -> Config:
    """Return the settings, with the URL from the argument, else TURNOUT_URL, else the default.

    Without a `secret`, TURNOUT_SECRET counts: one, or several with spaces between. Durations may be
    timedeltas. Raises one ConfigError that lists every fault.
    """
    environ = environ or {}
    if url is None:
        url = environ.get(ENV_URL) or DEFAULT_URL
    if settings.get("secret") is None:
        settings["secret"] = environ.get(ENV_SECRET, "").split()
    elif isinstance(settings["secret"], str):
        settings["secret"] = [settings["secret"]]
    known = {name: value for name, value in settings.items() if name in _SETTINGS}
    config = Config(url=url, **{name: _plain(value) for name, value in known.items()})
    faults = [_unknown(name) for name in settings if name not in _SETTINGS] + config.validate()
    if faults:
        msg = "Turnout's settings have faults:\n" + "\n".join(f"  - {one}" for one in faults)
        raise ConfigError(msg)
    return config


def check_queue_name(name: str) -> str:
    """Return a queue's name; raise ConfigError unless it is 1 to 100 of A-Z a-z 0-9 _ - . : /"""
    fault = _name_fault(name)
    if fault is not None:
        raise ConfigError(fault)
    return name


def redact(url: object) -> str:
    """Return a URL as it may be shown: without passwords, tokens and control characters."""
    if not isinstance(url, str):
        return f"a {type(url).__name__}"
    if url.startswith("sharded:") and not url.startswith("sharded:///"):
        items = url.removeprefix("sharded:").split("|")
        if not all(_ITEM.match(item) for item in items):  # a part of a password, perhaps
            return "sharded:***"
        pairs = (item.partition("=") for item in items)
        return "sharded:" + "|".join(f"{name}={redact(value)}" for name, _, value in pairs)
    scheme, sep, rest = url.partition("://")
    if not sep:
        scheme, rest = "", url
    # The last @ of all, since passwords are not always escaped: rather too much hidden.
    secret, at, host = rest.rpartition("@")
    if at and not url.lower().startswith(("sqlite:", "memory:")):
        user, colon, _ = secret.partition(":")
        rest = f"{user}:***@{host}" if colon else f"***@{host}"
    shown = _SECRET.sub(r"\1***", f"{scheme}{sep}{rest}")
    return "".join(one if one.isprintable() else "\ufffd" for one in shown)


_SETTINGS = frozenset(Config.__struct_fields__) - {"url"}


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | set | frozenset):
        return tuple(sorted(value, key=str) if not isinstance(value, list) else value)
    return value


def _unknown(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, _SETTINGS, 1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(_SETTINGS))}"
    return f"there is no setting {name!r}; {hint}"


def _url_faults(url: Any) -> list[str]:
    if not isinstance(url, str) or not _SCHEME.match(url):
        return [f"url must be text such as sqlite:///jobs.db or memory:, got {redact(url)!r}"]
    if "\0" in url or any("\ud800" <= one <= "\udfff" for one in url):
        return [f"url must hold neither NUL nor lone surrogates, got {redact(url)!r}"]
    return []


def _queue_faults(queues: Any, default: Any) -> list[str]:
    if queues is None:
        names: tuple[Any, ...] = ()
    elif isinstance(queues, tuple) and queues:
        names = queues
    else:
        return [f"queues must be a list of at least one name, or None for any; got {queues!r}"]
    faults = [f"queues: {_name_fault(one)}" for one in names if _name_fault(one)]
    twice = sorted({str(one) for one in names if names.count(one) > 1})
    if twice:
        faults.append(f"queues names {', '.join(twice)} more than once")
    if _name_fault(default):
        faults.append(f"default_queue: {_name_fault(default)}")
    elif names and default not in names:
        faults.append(f"default_queue {default!r} is not one of queues; add it or name another")
    return faults


def _keep_faults(keep: Any, queues: Any) -> list[str]:
    if not isinstance(keep, dict):
        return _age_faults("keep", keep)
    faults: list[str] = []
    for name, age in keep.items():
        faults += _age_faults(f"keep[{name!r}]", age)
        if name == OTHERS:
            continue
        if _name_fault(name):
            faults.append(f"keep: {_name_fault(name)}")
        elif isinstance(queues, tuple) and name not in queues:
            faults.append(f"keep names the queue {name!r}, which is not one of queues")
    return faults


def _buffer_faults(on_unavailable: Any, path: Any) -> list[str]:
    faults = []
    if on_unavailable not in ("raise", "buffer"):
        faults.append(f'on_unavailable must be "raise" or "buffer", got {on_unavailable!r}')
    elif path is not None and on_unavailable == "raise":
        faults.append('buffer_path says where jobs wait: it needs on_unavailable="buffer"')
    if path is not None and not (isinstance(path, str) and path and "\0" not in path):
        faults.append(f"buffer_path must be the path of a folder, got {path!r}")
    return faults


def _outbox_faults(outbox: Any, url: str) -> list[str]:
    if outbox is None:
        return []
    scheme = outbox.partition(":")[0] if isinstance(outbox, str) else ""
    if scheme not in ("sqlite", "postgresql", "postgres", "mysql", "mariadb"):
        return [f"outbox must be the URL of a SQL database, got {redact(outbox)!r}"]
    if outbox == url:
        return ["outbox is the store itself: jobs.within() works there without one"]
    return []


def _secret_faults(secrets: Any) -> list[str]:
    texts = isinstance(secrets, tuple) and all(isinstance(one, str) for one in secrets)
    if texts and all(len(one) >= SHORTEST_SECRET and one.isprintable() for one in secrets):
        return []
    msg = (
        f"secret must be printable text of {SHORTEST_SECRET} characters or more, or a list of such "
        "(it is not shown here); make one with: "
        'python -c "import secrets; print(secrets.token_urlsafe(32))"'
    )
    return [msg]


def _name_fault(name: Any) -> str | None:
    if isinstance(name, str) and _QUEUE.fullmatch(name):
        return None
    return (
        "a queue name is 1 to 100 characters out of letters A-Z a-z, digits and _ - . : /, "
        f"got {ascii(name)[:120]}"
    )


def _whole_faults(name: str, value: Any, least: int, most: int | None) -> list[str]:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and least <= value and (most is None or value <= most):
        return []
    bound = f"{least:,} or more" if most is None else f"from {least:,} to {most:,}"
    return [f"{name} must be a whole number, {bound}; got {value!r}"]


def _age_faults(name: str, value: Any) -> list[str]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and 0 <= value <= MAX_AGE:
        return []
    return [f"{name} must be seconds or a timedelta, from 0 to 100 years; got {value!r}"]
