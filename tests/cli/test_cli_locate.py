from __future__ import annotations

import sys

import click
import pytest

from turnout.cli.locate import find_app, find_url, open_existing
from turnout.errors import ConfigError, StoreUnavailable


@pytest.mark.parametrize(
    "target",
    ["shop.jobs", "shop.jobs:jobs", "shop/jobs.py", "./shop/jobs.py", "./shop/jobs.py:jobs"],
)
def test_finds_the_instance(target):
    app = find_app(target)

    assert sorted(app.tasks) == ["shop.jobs.charge", "shop.jobs.mail"]
    assert app is sys.modules["shop.jobs"].jobs


def test_finds_a_package_by_its_folder(folder):
    (folder / "shop" / "__init__.py").write_text("from shop.jobs import jobs")

    assert find_app("./shop") is find_app("shop")


def test_finds_a_file_outside_the_current_folder(tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "lonely_jobs.py"
    elsewhere.write_text("from turnout import Turnout\napp = Turnout()\n")

    assert find_app(str(elsewhere)).tasks == {}


def test_takes_the_target_from_the_environment(monkeypatch):
    monkeypatch.setenv("TURNOUT_APP", "shop.jobs")

    assert find_app(None).tasks


def test_says_that_a_target_is_missing():
    with pytest.raises(ConfigError, match=r"which application\? .* TURNOUT_APP"):
        find_app(None)


@pytest.mark.parametrize("target", ["shop.jbos", "shap", "shap.jobs"])
def test_says_where_it_looked_for_a_module(target, folder):
    with pytest.raises(ConfigError, match="there is no module") as caught:
        find_app(target)
    assert str(folder) in str(caught.value)


def test_says_that_a_file_is_missing(folder):
    with pytest.raises(ConfigError, match=r"there is no file \./shop/nope\.py"):
        find_app("./shop/nope.py")


@pytest.mark.parametrize("target", ["shop.jobs:", ":jobs", "shop.jobs:make()"])
def test_refuses_a_target_that_it_cannot_read(target):
    with pytest.raises(ConfigError, match="write MODULE or MODULE:NAME"):
        find_app(target)


def test_names_several_instances(folder):
    (folder / "two.py").write_text("from turnout import Turnout\na, b = Turnout(), Turnout()\n")

    with pytest.raises(ConfigError, match="several Turnout instances; name one of two:a, two:b"):
        find_app("two")
    assert find_app("two:b") is sys.modules["two"].b


def test_one_instance_under_two_names_is_one(folder):
    (folder / "same.py").write_text("from turnout import Turnout\na = b = Turnout()\n")

    assert find_app("same") is sys.modules["same"].a


def test_says_that_there_is_no_instance():
    with pytest.raises(ConfigError, match=r"shop holds no Turnout instance: .*jobs = Turnout"):
        find_app("shop")


@pytest.mark.parametrize(("name", "what"), [("charge", "a Task"), ("nope", "nothing of that name")])
def test_says_what_the_attribute_is_instead(name, what):
    with pytest.raises(ConfigError, match=f"found {what}; did you mean shop.jobs:jobs"):
        find_app(f"shop.jobs:{name}")


def test_shows_the_users_traceback_without_ours(folder):
    (folder / "deep.py").write_text("def f():\n    return 1 / 0\n")
    (folder / "broken.py").write_text("import deep\ndeep.f()\n")

    with pytest.raises(ConfigError) as caught:
        find_app("broken")
    said = str(caught.value)
    assert said.startswith("importing broken raised ZeroDivisionError")
    assert "broken.py" in said
    assert "deep.py" in said
    assert "locate.py" not in said
    assert "importlib" not in said


def test_an_import_that_fails_inside_is_the_modules_fault(folder):
    (folder / "needy.py").write_text("import a_package_that_nobody_has\n")

    with pytest.raises(ConfigError, match="importing needy raised ModuleNotFoundError"):
        find_app("needy")


@pytest.mark.parametrize("body", ["raise SystemExit(0)", "def ("])
def test_a_module_that_exits_or_does_not_parse(folder, body):
    (folder / "odd.py").write_text(body)

    with pytest.raises(ConfigError, match=r"importing odd raised (SystemExit|SyntaxError)"):
        find_app("odd")


def test_the_store_is_found_in_the_stated_order(folder, monkeypatch):
    with pytest.raises(click.UsageError, match="which store"):
        find_url(None, None)
    (folder / "jobs.db").write_text("")
    assert find_url(None, None) == "sqlite:///jobs.db"
    monkeypatch.setenv("TURNOUT_APP", "shop.jobs")
    (folder / "shop" / "jobs.py").write_text(
        "from turnout import Turnout\nj = Turnout('memory:a')\n"
    )
    assert find_url(None, None) == "memory:a"
    monkeypatch.setenv("TURNOUT_URL", "memory:b")
    assert find_url(None, None) == "memory:b"
    assert find_url(None, "shop.jobs") == "memory:a"
    assert find_url("memory:c", None) == "memory:c"


def test_url_and_app_together_are_refused():
    with pytest.raises(click.UsageError, match="not both"):
        find_url("memory:", "shop.jobs")


def test_looking_at_a_store_does_not_make_it(folder):
    with pytest.raises(StoreUnavailable, match="there is no store at"):
        open_existing("sqlite:///typo.db")
    assert not (folder / "typo.db").exists()


def test_a_memory_store_cannot_be_seen_from_here():
    with pytest.raises(ConfigError, match="inside one process"):
        open_existing("memory:")
