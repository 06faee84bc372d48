"""Finds the user's Turnout instance, and the store that a command means.

The invariant: a fault in finding says what was looked for, where, and what to write instead; a
fault of the user's own module is shown with the user's frames and without ours.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import unquote

import click

from turnout.errors import ConfigError, StoreUnavailable
from turnout.store import open_store, part_urls

if TYPE_CHECKING:
    from types import ModuleType

    from turnout.app import Turnout
    from turnout.store.protocol import Store

_OURS = str(Path(__file__).parents[1]) + os.sep
_DEFAULT = "sqlite:///jobs.db"


def find_app(target: str | None) -> Turnout:
    """Return the Turnout instance that `target` names; None means $TURNOUT_APP.

    `shop.jobs` (the one instance in it), `shop.jobs:name`, `./shop/jobs.py` and
    `./shop/jobs.py:name` are understood; the current folder comes first on the path.
    Raises ConfigError when there is none, or several.
    """
    target = target or os.environ.get("TURNOUT_APP")
    if not target:
        raise ConfigError(
            "which application? name its module, such as shop.jobs, or set TURNOUT_APP"
        )
    name, attribute = _split(target)
    folder, name = _as_module(name)
    if folder not in sys.path[:1]:
        sys.path.insert(0, folder)
    module = _import(name, folder)
    return _named(module, attribute) if attribute else _only(module)


def _split(target: str) -> tuple[str, str]:
    """Return module (or path) and attribute; the colon of a drive letter is none of ours."""
    name, colon, attribute = target.rpartition(":")
    if not colon or "/" in attribute or "\\" in attribute:
        return target, ""
    if not name or not attribute.isidentifier():
        msg = f"cannot read {target!r}: write MODULE or MODULE:NAME, such as shop.jobs:jobs"
        raise ConfigError(msg)
    return name, attribute


def _as_module(name: str) -> tuple[str, str]:
    """Return the folder to import from and the dotted name of a module given by name or path."""
    if not name.endswith(".py") and "/" not in name and os.sep not in name:
        return str(Path.cwd()), name
    path = Path(name).resolve()
    if path.is_dir():
        path /= "__init__.py"
    if not path.is_file():
        msg = f"there is no file {name}: looked for {path}"
        raise ConfigError(msg)
    whole = path.parent if path.name == "__init__.py" else path.with_suffix("")
    cwd = Path.cwd().resolve()
    if whole.is_relative_to(cwd) and whole != cwd:
        return str(cwd), ".".join(whole.relative_to(cwd).parts)
    return str(whole.parent), whole.name


def _import(name: str, folder: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and _is_part(error.name, name):
            msg = f"there is no module {name!r}: looked in {folder} and on Python's path"
            raise ConfigError(msg) from error
        lines = "".join(_users_part(error).format()).rstrip()
        msg = f"importing {name} raised {type(error).__name__}: {error}\n\n{lines}"
        raise ConfigError(msg) from error


def _is_part(missing: str | None, name: str) -> bool:
    return missing is not None and f"{name}.".startswith(f"{missing}.")


def _users_part(error: BaseException) -> traceback.TracebackException:
    """Return the traceback without our frames and the import system's."""
    story = traceback.TracebackException.from_exception(error)
    seen: traceback.TracebackException | None = story
    while seen is not None:
        theirs = [
            f
            for f in seen.stack
            if not f.filename.startswith((_OURS, "<frozen", importlib.__file__))
        ]
        seen.stack = traceback.StackSummary.from_list(theirs)
        seen = seen.__cause__ or seen.__context__
    return story


def _named(module: ModuleType, attribute: str) -> Turnout:
    found = getattr(module, attribute, None)
    if _is_app(found):
        return found
    what = "nothing of that name" if found is None else f"a {type(found).__name__}"
    msg = f"{module.__name__}:{attribute} should be a Turnout instance, found {what}" + _offer(
        module
    )
    raise ConfigError(msg)


def _only(module: ModuleType) -> Turnout:
    apps = _apps(module)
    distinct = {id(app): app for app in apps.values()}
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    if distinct:
        names = ", ".join(f"{module.__name__}:{name}" for name in apps)
        msg = f"{module.__name__} holds several Turnout instances; name one of {names}"
    else:
        msg = (
            f"{module.__name__} holds no Turnout instance: expected one at module level, such as "
            "jobs = Turnout(...)"
        )
    raise ConfigError(msg)


def _offer(module: ModuleType) -> str:
    names = ", ".join(f"{module.__name__}:{name}" for name in _apps(module))
    return f"; did you mean {names}?" if names else ""


def _apps(module: ModuleType) -> dict[str, Turnout]:
    return {name: value for name, value in vars(module).items() if _is_app(value)}


def _is_app(value: Any) -> TypeGuard[Turnout]:
    from turnout.app import Turnout

    return isinstance(value, Turnout)


def find_url(url: str | None, app: str | None) -> str:
    """Return the URL of the store that a command means.

    In this order: `url`, the application `app`, $TURNOUT_URL, $TURNOUT_APP, jobs.db in the
    current folder. Raises UsageError when none of these is there, or both of the first.
    """
    if url and app:
        raise click.UsageError("give --url or --app, not both")
    if not url and not app:
        url = os.environ.get("TURNOUT_URL")
    if url:
        return url
    if app or os.environ.get("TURNOUT_APP"):
        return str(find_app(app).url)
    if Path("jobs.db").is_file():
        return _DEFAULT
    raise click.UsageError(
        "which store? give --url URL or --app MODULE, or set TURNOUT_URL or TURNOUT_APP"
    )


def open_existing(url: str) -> Store:
    """Return the store at `url`, set up; refuses to make a new one, as looking must not create.

    Raises StoreUnavailable when there is none yet, ConfigError for a memory store.
    """
    store = open_store(url)
    for one in part_urls(url):
        _check_existing(one)
    store.setup()
    return store


def _check_existing(url: str) -> None:
    scheme, _, rest = url.partition(":")
    if scheme == "memory":
        msg = (
            f"{url} lives inside one process and cannot be seen from another: use sqlite:///jobs.db"
        )
        raise ConfigError(msg)
    path = Path(unquote(rest.partition("?")[0].removeprefix("///")))
    if scheme == "sqlite" and not path.exists():
        msg = (
            f"there is no store at {path.absolute()} yet: the first enqueue or worker makes it, "
            "or `turnout migrate`; check the path"
        )
        raise StoreUnavailable(msg)
