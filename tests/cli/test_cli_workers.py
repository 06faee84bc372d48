"""turnout workers: who works, how much memory it holds, and what it is told."""

from __future__ import annotations

import msgspec
import pytest

from cli.conftest import WORKER


@pytest.fixture
def at_work(shop):
    """Two workers of the shop."""
    other = msgspec.structs.replace(WORKER, epoch="e2", name="web2:12:y", rss=123_000_000)
    for worker in (WORKER, other):
        shop.store.heartbeat(worker, ttl=3600)
    return shop


def orders(shop, epoch="e1"):
    told = shop.store.heartbeat(msgspec.structs.replace(WORKER, epoch=epoch), ttl=3600)
    return [name for name in ("quiet", "stop", "dump") if getattr(told, name)]


def test_the_workers_and_their_memory(cli, at_work):
    said = cli("workers", "list").stdout
    assert "web1:4711:x" in said
    assert "123 MB" in said
    assert [one["rss"] for one in cli.json("workers", "list")["workers"]] == [None, 123_000_000]
    assert "123 MB" in cli("status").stdout


def test_nobody_works(cli, shop):
    assert "no worker is running" in cli("workers", "list").stderr
    assert cli.json("workers", "list") == {"workers": []}


@pytest.mark.parametrize("order", ["quiet", "stop", "dump"])
def test_an_order_goes_to_the_one_that_is_named(cli, at_work, order):
    assert "at its next heartbeat" in cli("workers", order, "web1:4711:x").stdout
    assert orders(at_work, "e2") == []
    assert orders(at_work) == [order]


def test_all_are_told(cli, at_work):
    told = cli.json("workers", "quiet", "--all")
    assert told == {"order": "quiet", "workers": ["web1:4711:x", "web2:12:y"]}
    assert orders(at_work) == orders(at_work, "e2") == ["quiet"]


def test_a_name_that_is_nobodys_tells_nobody(cli, at_work):
    said = cli("workers", "stop", "web1:4711:x", "web9:1:z", code=1).stderr
    assert "no worker is called 'web9:1:z'; there are: web1:4711:x, web2:12:y" in said
    assert orders(at_work) == []


def test_somebody_must_be_meant(cli, at_work):
    assert "give their names, or --all" in cli("workers", "stop", code=2).stderr
    cli("workers", "stop", "web1:4711:x", "--all", code=2)
    assert orders(at_work) == []


def test_telling_nobody_at_all_is_a_fault(cli, shop):
    assert "nobody was told anything" in cli("workers", "dump", "--all", code=1).stderr
