"""The house rules: floors, sizes, width, words. Each test lists every fault it finds at once.

Floors are numbered from below. A file imports from its own floor or from below, never upwards,
and third-party packages only where `ROOMS` lets them in. Exceptions stand in the tables here,
each with its reason; a table entry that nothing needs any more is a fault as well.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "turnout"

FILE_SOFT, FILE_HARD = 300, 400
FUNCTION_LINES, PARAMETERS, NESTING = 40, 6, 3

# The floor of every module: the longest matching prefix decides. A module without one is a fault.
FLOORS = {
    # values and policies: no I/O, no clock, no globals
    "turnout.errors": 0,
    "turnout.job": 0,
    "turnout.crash": 0,
    "turnout.isolation": 0,
    "turnout.codec": 0,
    "turnout.jsonable": 0,
    "turnout.retry": 0,
    "turnout.backoff": 0,
    "turnout.failure": 0,
    "turnout.terms": 0,
    "turnout.foreign": 0,
    "turnout.activejob": 0,
    "turnout.limits": 0,
    "turnout.metrics": 0,
    "turnout.secret": 0,
    "turnout.cron": 0,
    "turnout.ceiling": 0,
    "turnout.config": 0,
    "turnout.by": 0,
    "turnout.lanes": 0,
    "turnout.queues": 0,
    "turnout.tokens": 0,
    # where jobs live
    "turnout.store": 1,
    "turnout.identity": 1,
    # what a web process imports
    "turnout": 2,
    "turnout.ids": 2,
    "turnout.task": 2,
    "turnout.app": 2,
    "turnout.ahead": 2,
    "turnout.handle": 2,
    "turnout.holding": 2,
    "turnout.calling": 2,
    "turnout.pressure": 2,
    "turnout.shared": 2,
    "turnout.standing": 2,
    "turnout.context": 0,
    "turnout.current": 2,
    "turnout.batch": 2,
    "turnout.middleware": 2,
    "turnout.events": 2,
    "turnout.decorator": 2,
    "turnout.within": 2,
    "turnout.logs": 2,
    "turnout.recording": 2,
    "turnout.buffer": 2,
    "turnout.spill": 2,
    "turnout.outbox": 2,
    "turnout.sidekiq": 2,
    "turnout.argument": 2,
    "turnout.search": 2,
    "turnout.replay": 2,
    "turnout.replays": 2,
    "turnout.stacks": 2,
    "turnout.documents": 2,
    "turnout.views": 2,
    "turnout.deploys": 2,
    "turnout.rings": 2,
    "turnout.auditlog": 2,
    "turnout.finding": 2,
    # the process that works
    "turnout.worker": 3,
    # surfaces, each optional
    "turnout.__main__": 4,
    "turnout.cli": 4,
    "turnout.web": 4,
    "turnout.testing": 4,
    "turnout.audit": 4,
    "turnout.sim": 4,
    "turnout.contrib": 4,
}
PACKAGES = {
    "turnout.limits",
    "turnout.store",
    "turnout.worker",
    "turnout.cli",
    "turnout.web",
    "turnout.testing",
}
PACKAGES |= {"turnout.audit", "turnout.sim", "turnout.contrib"}

ADAPTERS = {"memory", "sqlite", "postgres", "mysql", "redis"}
# Surfaces stand beside each other; the command line calls the others, a framework mounts the pages.
NEIGHBOURS = {"cli": {"web", "testing", "audit", "sim", "contrib"}, "contrib": {"web"}}
# Only these surfaces run jobs; web never sees the worker.
RUNS_JOBS = {"__main__", "cli", "testing"}

# Third-party packages and the modules that may import them.
ROOMS = {
    "msgspec": ("turnout",),
    "cronsim": ("turnout.cron",),
    "click": ("turnout.cli", "turnout.__main__"),
    "rich": ("turnout.cli",),
    "textual": ("turnout.cli.top",),
    "psycopg": ("turnout.store.postgres",),
    "pymysql": ("turnout.store.mysql",),
    "MySQLdb": ("turnout.store.mysql",),
    "redis": ("turnout.store.redis",),
    "hiredis": ("turnout.store.redis",),
    "starlette": ("turnout.web", "turnout.contrib"),
    "jinja2": ("turnout.web",),
    "markupsafe": ("turnout.web",),
    "anyio": ("turnout.web",),
    "uvicorn": ("turnout.web", "turnout.cli"),
    "a2wsgi": ("turnout.web", "turnout.contrib"),
    "django": ("turnout.contrib.django",),
    "opentelemetry": ("turnout.contrib.opentelemetry",),
    "prometheus_client": ("turnout.web.exposition",),
    "sqlalchemy": ("turnout.contrib",),
    "pytest": ("turnout.testing.pytest_plugin",),
}

# Floor 0 decides; it does not look at the world.
WORLDLY = {"asyncio", "multiprocessing", "os", "select", "socket", "sqlite3", "subprocess"}
WORLDLY |= {"threading", "time"}

# Files past the soft limit, each with the reason why it is still one subject.
LONG_FILES: dict[str, str] = {
    "app.py": "the one stateful object of the public face, and the decorator that it hands out",
    "job.py": "the values that every floor speaks in, most of it field lists",
    "store/protocol.py": "the contract of every store, most of it in prose",
    "store/memory.py": "sixteen verbs of one store, each a few lines",
    "store/redis/store.py": "as store/sqlite/store.py",
    "store/sqlite/store.py": "sixteen verbs of one store, each handing over to its own file",
    "store/postgres/store.py": "as store/sqlite/store.py",
    "store/mysql/store.py": "as store/sqlite/store.py",
    "task.py": "a task and its options, what one call overrides, and the checks of both",
    "worker/gate.py": "the one place where a job waits for its limits, with all that may follow",
    "worker/threads.py": "the states of a thread and of its timeout, told in one place",
    "store/sharded/store.py": "as store/sqlite/store.py",
}

# Functions with more than six parameters, self not counted: each is a list of options to a user.
MANY_PARAMETERS: dict[str, str] = {
    "decorator.py:TaskMaker.__init__": "a task's options, keyword-only, each with a default",
    "cli/simulate.py:simulate": "a command's options, each with a default",
    "task.py:Task.using": "one enqueue's options, keyword-only, each with a default",
}

# Tests wait for things, with a timeout. Who may sleep: `file:function`, and why.
MAY_SLEEP: dict[str, str] = {
    "process/service.py:do_GET": "a service that takes its time; nobody waits by it",
}

PROTOCOL = (
    *(
        "setup",
        "close",
        "describe",
        "enqueue",
        "exchange",
        "transaction",
        "note",
        "heartbeat",
        "reap",
    ),
    *("wait", "wake", "find", "count", "ready", "change", "pause", "workers", "order", "prune"),
    *("mark", "unmark"),
)

PUBLIC = {
    *("Turnout", "Task", "Job", "JobRecord", "State", "current_job", "retry_on", "discard_on"),
    *("polynomial", "exponential", "fixed", "exactly", "Retry", "Snooze", "Discard", "Cancel"),
}


class Module(NamedTuple):
    """One parsed source file."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def floor(self) -> int | None:
        """Its floor by the table, None when the table has nothing to say."""
        if self.name in FLOORS:
            return FLOORS[self.name]
        return next((FLOORS[p] for p in PACKAGES if self.name.startswith(p + ".")), None)

    @property
    def short(self) -> str:
        """Its path below the package, as people name it."""
        return self.path.relative_to(PACKAGE).as_posix()


@cache
def modules() -> tuple[Module, ...]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ["turnout", *path.relative_to(PACKAGE).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text("utf-8")
        found.append(Module(name, path, text, ast.parse(text, str(path))))
    return tuple(found)


def floor_of(name: str) -> int | None:
    """The floor of an imported name, which may be a module or something inside one."""
    while name:
        if name in FLOORS:
            return FLOORS[name]
        name = name.rpartition(".")[0]
        if name == "turnout":
            return FLOORS["turnout"]
    return None


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of everything imported anywhere in the file, lazily or not."""
    known = {m.name for m in modules()}
    is_package = module.path.name == "__init__.py"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.name.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parts, *filter(None, [base])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield node.lineno, inner if inner in known else base


def surface(name: str) -> str:
    """The second part of a dotted name: which package of the house it lies in."""
    return [*name.split("."), ""][1]


def adapter(name: str) -> str | None:
    """The adapter a store module belongs to (`_memory_job` is memory's), None for shared ones."""
    parts = name.split(".")
    if parts[:2] != ["turnout", "store"] or len(parts) == 2:
        return None
    first = parts[2].lstrip("_").split("_")[0]
    return first if first in ADAPTERS else None


def functions(module: Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield (file:Class.name, node) of every function, nested ones included."""

    def visit(node: ast.AST, prefix: str) -> Iterator:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{module.short}:{prefix}{child.name}", child
                yield from visit(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.ClassDef):
                yield from visit(child, f"{prefix}{child.name}.")
            else:
                yield from visit(child, prefix)

    yield from visit(module.tree, "")


def depth(node: ast.AST) -> int:
    """How deep compound statements nest in a function; `elif` and inner functions do not count."""
    levels = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
    deepest = 0
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(
                child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
            ):
                continue
            is_elif = isinstance(node, ast.If) and field == "orelse" and isinstance(child, ast.If)
            step = isinstance(child, (*levels, ast.TryStar)) and not (is_elif and len(value) == 1)
            deepest = max(deepest, step + depth(child))
    return deepest


def report(faults: list[str]) -> None:
    assert not faults, "\n  ".join([f"{len(faults)} fault(s):", *faults])


def test_every_module_has_a_floor():
    report([f"{m.name} has no floor: put it into FLOORS" for m in modules() if m.floor is None])


def test_imports_never_go_up():
    faults = []
    for module in modules():
        for line, name in imports(module):
            if name.split(".")[0] != "turnout" or module.floor is None:
                continue
            floor = floor_of(name)
            if floor is not None and floor > module.floor:
                where = f"{module.short}:{line} (floor {module.floor})"
                faults.append(f"{where} imports {name} (floor {floor})")
    report(faults)


def test_adapters_do_not_import_each_other():
    faults = []
    for module in modules():
        own = adapter(module.name)
        for line, name in imports(module):
            other = adapter(name)
            if own and other and own != other:
                faults.append(f"{module.short}:{line} ({own}) imports {name}")
    report(faults)


def test_surfaces_keep_to_themselves():
    faults = []
    for module in modules():
        own = surface(module.name)
        if module.floor != 4 or own == "__main__":
            continue
        for line, name in imports(module):
            other, floor = surface(name), floor_of(name)
            if floor == 3 and own not in RUNS_JOBS:
                faults.append(
                    f"{module.short}:{line} imports {name}: {own} must not see the worker"
                )
            if floor == 4 and own != other and other not in NEIGHBOURS.get(own, ()):
                faults.append(f"{module.short}:{line} imports {name}: surfaces stand alone")
            if own == "audit" and floor in {1, 2} and name != "turnout":
                faults.append(f"{module.short}:{line} imports {name}: audit only parses")
    report(faults)


def test_third_party_imports_stand_where_they_belong():
    faults = []
    for module in modules():
        for line, name in imports(module):
            top = name.split(".")[0]
            if top == "turnout" or top in sys.stdlib_module_names:
                continue
            rooms = ROOMS.get(top, ())
            if not any(module.name == room or module.name.startswith(room + ".") for room in rooms):
                faults.append(f"{module.short}:{line} imports {top}; allowed in: {rooms or 'none'}")
    report(faults)


def test_floor_0_does_not_look_at_the_world():
    faults = []
    for module in modules():
        if module.floor != 0:
            continue
        for line, name in imports(module):
            if name.split(".")[0] in WORLDLY:
                faults.append(f"{module.short}:{line} imports {name}")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and node.attr in {"utcnow", "today"}:
                faults.append(f"{module.short}:{node.lineno} reads a clock")
    report(faults)


def test_files_are_short():
    faults = []
    for module in modules():
        lines = len(module.text.splitlines())
        listed = module.short in LONG_FILES
        if lines > FILE_HARD:
            faults.append(f"{module.short} has {lines} lines; {FILE_HARD} is the end")
        elif lines > FILE_SOFT and not listed:
            faults.append(f"{module.short} has {lines} lines; over {FILE_SOFT} needs a reason")
        elif lines <= FILE_SOFT and listed:
            faults.append(f"{module.short} has {lines} lines: take it out of LONG_FILES")
    report(faults)


def test_functions_are_short_and_flat():
    faults = []
    for module in modules():
        for name, node in functions(module):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                faults.append(f"{name} (line {node.lineno}) has {lines} lines of {FUNCTION_LINES}")
            if (nesting := depth(node)) > NESTING:
                faults.append(f"{name} (line {node.lineno}) nests {nesting} deep of {NESTING}")
    report(faults)


def test_functions_take_few_parameters():
    faults, used = [], set()
    for module in modules():
        for name, node in functions(module):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = len([a for a in given if a.arg not in {"self", "cls"}])
            is_overload = any("overload" in ast.unparse(d) for d in node.decorator_list)
            if count <= PARAMETERS or is_overload:
                continue
            used.add(name)
            if name not in MANY_PARAMETERS:
                faults.append(f"{name} (line {node.lineno}) takes {count} of {PARAMETERS}")
    present = {m.short for m in modules()}
    for name in MANY_PARAMETERS.keys() - used:
        if name.split(":")[0] in present:
            faults.append(f"{name} takes few by now: take it out of MANY_PARAMETERS")
    report(faults)


def test_the_protocol_has_its_width():
    tree = next(m.tree for m in modules() if m.name == "turnout.store.protocol")
    store = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Store")
    methods = [n.name for n in store.body if isinstance(n, ast.FunctionDef)]
    assert sorted(methods) == sorted(PROTOCOL), "one more method needs a decision page"


def test_all_names_everything_and_is_sorted():
    import turnout

    tree = next(m.tree for m in modules() if m.name == "turnout")
    bound = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    listed = turnout.__all__
    public = {name for name in bound if not name.startswith("_")}
    assert public <= set(listed), f"imported and not in __all__: {sorted(public - set(listed))}"
    assert set(listed) >= PUBLIC, f"missing from __all__: {sorted(PUBLIC - set(listed))}"
    assert list(listed) == sorted(listed)
    assert [name for name in listed if not hasattr(turnout, name)] == []


def test_what_is_public_is_described():
    faults = []
    for module in modules():
        if not ast.get_docstring(module.tree):
            faults.append(f"{module.short} has no docstring: what does it own?")
        for node in module.tree.body:
            is_named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if not is_named or node.name.startswith("_") or ast.get_docstring(node):
                continue
            if not any("overload" in ast.unparse(d) for d in node.decorator_list):
                faults.append(f"{module.short}:{node.lineno} {node.name} has no docstring")
    report(faults)


def sleeps(tree: ast.Module) -> Iterator[tuple[str, int, bool]]:
    """Yield (enclosing function, line, is a task's body) of every blocking sleep."""

    def visit(node: ast.AST, name: str, in_task: bool) -> Iterator:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            name = node.name
            in_task = any(re.search(r"\btask\b", ast.unparse(d)) for d in node.decorator_list)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "sleep"}:
            yield name, node.lineno, in_task
        for child in ast.iter_child_nodes(node):
            yield from visit(child, name, in_task)

    yield from visit(tree, "<module>", in_task=False)


def test_tests_do_not_sleep_to_wait():
    faults, used = [], set()
    for path in sorted((ROOT / "tests").rglob("*.py")):
        short = path.relative_to(ROOT / "tests").as_posix()
        for name, line, in_task in sleeps(ast.parse(path.read_text("utf-8"))):
            used.add(f"{short}:{name}")
            if not in_task and f"{short}:{name}" not in MAY_SLEEP:
                faults.append(f"tests/{short}:{line} sleeps in {name}: wait for the thing instead")
    faults += [f"{name} sleeps no more: take it out" for name in MAY_SLEEP.keys() - used]
    report(faults)


def test_nothing_is_left_for_later():
    marker = re.compile(
        r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK"]) + r")\b"
    )
    faults = []
    for folder in ("src", "tests", "docs", "examples", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix not in {".py", ".md", ".sql", ".lua"}:
                continue
            for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
                if marker.search(line):
                    faults.append(f"{path.relative_to(ROOT)}:{number} {line.strip()[:80]}")
    report(faults)
