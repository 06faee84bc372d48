"""Reading a sharded URL, or the file that one points to.

    sharded:a=redis://10.0.0.1/0|b=redis://10.0.0.2/0|by=depth|drain=b
    sharded:///shards.conf      sharded:////etc/turnout/shards.conf

Items are NAME=VALUE, separated by `|`, which no URL holds unescaped (%7C), or by line ends in a
file, where `#` at the beginning of a line makes a comment. Three names are settings, every other
one is a shard's:

    by      id (the default) or depth: how jobs without a unique key are placed
    drain   names, separated by commas: these get no new jobs, and are worked empty
    new     names: unique keys that moved to these are asked for at their old shard first

Names decide where a key belongs: a shard that moves to another host keeps its name. A file is read
again when it has changed, by every process, within two seconds or so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

import msgspec

from turnout.config import redact
from turnout.errors import ConfigError

By = Literal["id", "depth"]

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}", re.ASCII)
_SETTINGS = {"by", "drain", "new"}
_SHAPE = "sharded:a=redis://10.0.0.1/0|b=redis://10.0.0.2/0"


class Layout(msgspec.Struct, frozen=True):
    """What a URL or a file says: shards by name, and the settings."""

    urls: dict[str, str]
    by: By = "id"
    drain: frozenset[str] = frozenset()
    new: frozenset[str] = frozenset()


def file_of(url: str) -> Path | None:
    """Return the file that a URL points to; None when the shards stand in the URL itself."""
    rest = url.partition(":")[2]
    if not rest.startswith("///"):
        return None
    return Path(unquote(rest.removeprefix("///")))


def part_urls(url: str) -> list[str]:
    """Return the URLs of a sharded URL's shards; raises ConfigError with every fault in it."""
    layout, faults = read(url)
    refuse(faults)
    return list(layout.urls.values())


def read(url: str) -> tuple[Layout, list[str]]:
    """Return what a URL says and every fault in it, in words."""
    path = file_of(url)
    if path is None:
        return parse(url.partition(":")[2])
    try:
        return parse(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        return Layout({}), [f"the file of the shards, {path}, cannot be read: {error}"]


def refuse(faults: list[str]) -> None:
    """Raise one ConfigError that lists these faults, if there are any."""
    if faults:
        lines = "\n".join(f"  - {fault}" for fault in faults)
        msg = f"the sharded store's shards have faults (the shape is {_SHAPE}):\n{lines}"
        raise ConfigError(msg)


def parse(text: str) -> tuple[Layout, list[str]]:
    """Return what items say and every fault in them."""
    urls: dict[str, str] = {}
    settings: dict[str, str] = {}
    faults: list[str] = []
    for item in _items(text):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not _NAME.fullmatch(name):
            faults.append(
                "an item is NAME=URL, the name of 1 to 32 characters out of a-z 0-9 _ - and with a "
                f"letter first; got {_shown(item)}"
            )
        elif name in urls or name in settings:
            faults.append(f"{name} is given twice")
        elif name in _SETTINGS:
            settings[name] = value
        else:
            faults += _url_faults(name, value, urls)
            urls[name] = value
    faults += _setting_faults(urls, settings)
    by: By = "depth" if settings.get("by") == "depth" else "id"
    drain, new = (frozenset(_names(settings.get(word, ""))) for word in ("drain", "new"))
    return Layout(urls, by, drain, new), faults


def _items(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line.lstrip().startswith("#"):
            yield from (item.strip() for item in line.split("|") if item.strip())


def _url_faults(name: str, url: str, others: dict[str, str]) -> Iterator[str]:
    if not url:
        yield f"shard {name} has no URL"
    elif url.startswith("sharded:"):
        yield f"shard {name} is sharded itself; list its shards here"
    twin = next((other for other, one in others.items() if one == url), None)
    if twin is not None and url != "memory:":
        yield f"shards {twin} and {name} are one and the same store, {redact(url)}"


def _setting_faults(urls: dict[str, str], settings: dict[str, str]) -> Iterator[str]:
    if not urls:
        yield "there is no shard"
    if settings.get("by", "id") not in {"id", "depth"}:
        yield f"by is id or depth, got {ascii(settings['by'])[:40]}"
    for word in ("drain", "new"):
        unknown = [name for name in _names(settings.get(word, "")) if name not in urls]
        if unknown:
            yield f"{word} names no shard: {', '.join(unknown)}; there are {', '.join(urls)}"
        elif urls and urls.keys() <= set(_names(settings.get(word, ""))):
            yield f"{word} names every shard: at least one must be left"


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _shown(item: str) -> str:
    """Return a faulty item as it may be shown: of what might hold a password, nothing."""
    return "an item that looks like a URL" if "@" in item or "//" in item else ascii(item)[:60]
