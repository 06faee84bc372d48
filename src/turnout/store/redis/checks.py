"""What the server is, what its settings promise, and what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.exceptions import ResponseError

from turnout.errors import StoreUnavailable

if TYPE_CHECKING:
    from turnout.store.redis.connection import Link

_OLDEST = {"redis": (6, 2), "valkey": (7, 2)}
_SETTINGS = ("appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy")


def info(link: Link, *sections: str) -> dict[str, str]:
    """Return the server's own report."""
    text = b"".join(link.run("INFO", section) for section in sections or ("server",)).decode()
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name: value.strip() for name, _, value in pairs}


def product(report: dict[str, str]) -> tuple[str, str]:
    """Return the server's kind and version."""
    kind = report.get("server_name", "redis")
    return kind, report.get(f"{kind}_version") or report.get("redis_version", "0")


def check_server(link: Link) -> None:
    """Raise StoreUnavailable for a server that is too old, or a cluster."""
    report = info(link, "server")
    kind, version = product(report)
    numbers = tuple(int(part) for part in version.split(".")[:2])
    oldest = _OLDEST.get(kind, (6, 2))
    if numbers < oldest:
        wanted = ".".join(map(str, oldest))
        msg = f"{kind.title()} {version} is too old: Turnout needs {wanted} or later"
        raise StoreUnavailable(msg)
    if report.get("redis_mode") == "cluster" or report.get("server_mode") == "cluster":
        msg = (
            "this is a cluster, and Turnout's scripts touch keys of many slots: give a single "
            "server, with a replica for safety"
        )
        raise StoreUnavailable(msg)


def settings(link: Link) -> dict[str, str]:
    """Return the settings that matter; empty where the server keeps them to itself."""
    try:
        answers = link.several(*(("CONFIG", "GET", name) for name in _SETTINGS))
    except ResponseError:
        return {}
    return {
        name: answer[1].decode() if len(answer) > 1 else ""
        for name, answer in zip(_SETTINGS, answers, strict=True)
    }


def survives(found: dict[str, str]) -> str:
    """Return what an acknowledged write survives by these settings."""
    if not found or (found["appendonly"] == "no" and not found["save"]):
        return "nothing" if found else "a killed process"
    if found["appendonly"] == "yes" and found["appendfsync"] == "always":
        return "a power cut"
    return "a killed process"


def warnings(found: dict[str, str]) -> list[str]:
    """Return what a person should know of these settings."""
    if not found:
        return ["CONFIG GET is not permitted here: persistence and eviction are unknown"]
    said: list[str] = []
    if found["maxmemory-policy"] != "noeviction":
        said.append(
            f"maxmemory-policy is {found['maxmemory-policy']}: a full server may throw jobs away; "
            "set it to noeviction"
        )
    said.append(_loss(found))
    return [one for one in said if one]


def _loss(found: dict[str, str]) -> str:
    if found["appendonly"] == "yes":
        return {
            "always": "",
            "everysec": "appendfsync is everysec: a power cut may lose the last second's jobs",
            "no": "appendfsync is no: a power cut may lose the last half minute's jobs",
        }.get(found["appendfsync"], "")
    if found["save"]:
        return (
            f"appendonly is no: a crash of the server loses all since the last snapshot (save "
            f"{found['save']}); set appendonly to yes"
        )
    return "neither appendonly nor save is on: every job is lost when the server ends"
