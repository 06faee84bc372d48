"""The audit log in the store: the newest entries, whatever they say, for as long as is said."""

from __future__ import annotations

import threading

import msgspec

from turnout import auditlog
from turnout.auditlog import KEPT, MOST, Entry
from turnout.limits.marks import MAX_VALUE
from turnout.store.memory import MemoryStore

NOW = 1_700_000_000.0


def entry(n: int = 0, **fields) -> Entry:
    given = {"who": "anna", "role": "admin", "action": "retry", "subject": f"job {n}"}
    return Entry(**{"at": NOW + n, **given, **fields})


def test_the_newest_are_kept_and_the_newest_of_them_comes_first():
    store = MemoryStore()
    for n in range(MOST + 40):
        auditlog.write(store, entry(n))
    kept = auditlog.kept(store, NOW)
    assert [one.subject for one in kept] == [f"job {n}" for n in range(MOST + 39, 39, -1)]


def test_what_is_older_than_its_time_is_not_shown():
    store = MemoryStore()
    auditlog.write(store, entry(0))
    auditlog.write(store, entry(100))
    assert [one.subject for one in auditlog.kept(store, NOW + KEPT + 50)] == ["job 100"]


def test_a_full_document_fits_whatever_its_entries_say():
    store = MemoryStore()
    for said in ('"' * 500, "\\" * 500, "ß名" * 300, "\n\x00" * 300):
        for n in range(auditlog._EACH + 1):
            auditlog.write(store, entry(n, who=said, action=said, subject=said, address=said))
    said = dict.fromkeys(auditlog._LONGEST, '"' * 500)
    fullest = [entry(n, count=10**9, **said) for n in range(auditlog._EACH)]
    assert len(msgspec.json.encode([auditlog.cut(one) for one in fullest]).decode()) <= MAX_VALUE
    newest = auditlog.kept(store, NOW)[0]
    assert len(newest.subject) == 160


def test_those_who_write_at_once_lose_nothing():
    store = MemoryStore()

    def write(name: str) -> None:
        for n in range(20):
            auditlog.write(store, entry(n, subject=f"{name} {n}"))

    threads = [threading.Thread(target=write, args=(f"t{n}",)) for n in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    kept = {one.subject for one in auditlog.kept(store, NOW)}
    assert kept == {f"t{t} {n}" for t in range(4) for n in range(20)}


def test_a_line_of_the_log_is_one_line_and_whole(caplog):
    with caplog.at_level("INFO", logger="turnout.audit"):
        auditlog.write(MemoryStore(), entry(7, who="an\nna", subject="x" * 300))
    assert caplog.messages == [f"an\\u000ana (admin, -) retry {'x' * 300}: 1"]
