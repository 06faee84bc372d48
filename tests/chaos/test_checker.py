"""The checker against ledgers made by hand: each breaks one rule, and it must say so."""

from __future__ import annotations

import pytest

from chaos.judging import judge as judge_ledger
from chaos.judging import part_ledger
from turnout.testing.chaos.checker import Checker, check_effects, unknown_effects
from turnout.testing.chaos.ledger import Ledger
from turnout.testing.chaos.overlap import Reach
from turnout.testing.chaos.recovery import recovery
from turnout.testing.chaos.schedule import draw
from turnout.testing.chaos.stories import End, read

KINDS = {"quick": {"succeeded"}, "doomed": {"dead"}, "once": {"succeeded"}}
GOOD = """
1.0 accepted 9 a quick
1.1 start 50 a 1 700
1.2 end 50 a 1 700 ok
1.3 settled 50 a 1 succeeded
"""
SUCCEEDED = {"a": End("succeeded", 1)}


def judge(text, ends=None, **options):
    tale = read(line.split() for line in text.strip().splitlines())
    given = SUCCEEDED if ends is None else ends
    checker = Checker(given, kinds=KINDS, reach=Reach(slack=2.0, **options))
    checker.take(tale)
    return checker.finish()


def wrong(text, ends=None, **options):
    """Return the one violation of a ledger."""
    [what] = judge(text, ends, **options).violations
    return what


def test_a_good_ledger_is_good():
    verdict = judge(GOOD)
    assert (verdict.violations, verdict.lost, verdict.jobs, verdict.runs) == ([], [], 1, 1)
    assert verdict.states == {"succeeded": 1}


def test_an_accepted_job_that_is_nowhere_is_lost():
    verdict = judge("1.0 accepted 9 a quick", {})
    assert verdict.lost == ["a"]
    assert "lost: gone" in verdict.violations[0]


@pytest.mark.parametrize("state", ["queued", "running"])
def test_an_accepted_job_that_is_not_final_is_lost(state):
    assert f"still {state}" in wrong("1.0 accepted 9 a quick", {"a": End(state)})


def test_a_job_that_ran_and_is_nowhere_is_lost_though_nobody_told_of_its_enqueue():
    assert "lost" in wrong("1.1 start 50 a 1 700", {})


def test_a_job_must_end_as_its_kind_does():
    text = GOOD.replace("succeeded", "dead")
    assert "expected succeeded" in wrong(text, {"a": End("dead", 1)})
    text = GOOD.replace("quick", "doomed")
    assert "expected dead" in wrong(text)


def test_a_success_needs_a_run_that_came_to_its_end():
    assert "never came to its end" in wrong(GOOD.replace("700 ok", "700 ValueError"))
    assert "never came to its end" in wrong(GOOD, {"a": End("succeeded", 2)})


def test_a_quarantine_needs_as_many_faults_as_it_has_crashes():
    runs = "1.0 accepted 9 a quick\n1.1 start 50 a 1 700"
    dead = {"a": End("dead", 0, crashes=3)}
    kill = "1.2 fault 1 0.0 kill {}"
    assert "0 faults were made" in wrong(runs, dead)
    text = "\n".join([runs, *(kill.format(pid) for pid in (50, 51, 52))])
    verdict = judge(text, dead)
    assert (verdict.violations, verdict.quarantined) == ([], 1)


def test_one_attempt_is_settled_once():
    assert "settled twice" in wrong(GOOD + "1.4 settled 51 a 1 succeeded")


def test_a_retry_and_an_end_of_one_attempt_are_two_settles():
    text = GOOD.replace("1.3 settled", "1.25 settled 51 a 1 retried\n1.3 settled")
    assert "settled twice" in wrong(text)


def test_a_snoozed_attempt_may_be_settled_again():
    text = GOOD.replace("1.3 settled", "1.05 settled 50 a 1 snoozed\n1.3 settled")
    assert judge(text).violations == []


def test_a_crashed_server_may_forget_one_settle_if_it_says_so():
    text = GOOD + "1.35 fault 1 0.5 server *\n1.8 start 51 a 1 701\n1.9 end 51 a 1 701 ok\n"
    text += "2.0 settled 51 a 1 succeeded\n"
    assert "settled twice" in wrong(text)
    verdict = judge(text, forgets=("server",))
    assert (verdict.violations, verdict.forgotten) == ([], 1)
    thrice = text + "2.1 settled 52 a 1 succeeded"
    assert "settled twice" in wrong(thrice, forgets=("server",))


def test_a_settle_long_before_the_crash_may_not_be_forgotten():
    text = GOOD + "5.0 fault 1 0.5 server *\n5.8 start 51 a 1 701\n5.9 end 51 a 1 701 ok\n"
    text += "6.0 settled 51 a 1 succeeded\n"
    assert "settled twice" in wrong(text, forgets=("server",))


def test_nothing_is_settled_after_the_end():
    text = GOOD + "1.4 start 51 a 2 701\n1.5 end 51 a 2 701 ok\n1.6 settled 51 a 2 succeeded"
    told = judge(text, {"a": End("succeeded", 2)}).violations
    assert any("settled after the end" in what for what in told)
    assert any("after its end" in what for what in told)


def test_the_store_and_the_settle_agree():
    text = GOOD.replace("quick", "other")
    assert "the store says dead" in wrong(text, {"a": End("dead", 1)})


def test_the_line_of_a_settle_may_be_late():
    text = (
        "1.0 accepted 9 a quick\n1.1 start 50 a 1 700\n1.15 end 50 a 1 700 ValueError\n"
        "1.2 start 51 a 2 701\n1.3 end 51 a 2 701 ok\n1.4 settled 51 a 2 succeeded\n"
        "1.5 settled 50 a 1 retried\n"
    )
    assert judge(text, {"a": End("succeeded", 2)}).violations == []


def test_a_lease_starts_one_run():
    text = GOOD + "1.35 fault 1 0.1 suspend 50\n1.36 start 50 a 1 700"
    assert "one lease (700) started 2 runs" in wrong(text)


def test_attempts_have_no_gaps():
    text = GOOD.replace(" a 1 ", " a 2 ")
    assert "attempt 2 began, and 1 never did" in wrong(text, {"a": End("succeeded", 2)})
    settled = text + "1.05 settled 50 a 1 retried\n"
    assert judge(settled, {"a": End("succeeded", 2)}).violations == []


def test_attempts_do_not_go_back():
    text = (
        "1.0 accepted 9 a quick\n1.1 start 50 a 1 700\n1.2 end 50 a 1 700 ValueError\n"
        "1.3 settled 50 a 1 retried\n1.4 start 51 a 2 701\n1.5 end 51 a 2 701 ok\n"
        "1.6 start 52 a 1 699\n"
    )
    told = judge(text, {"a": End("succeeded", 2)}).violations
    assert any("attempt 1 began after attempt 2" in what for what in told)


def test_a_doubled_run_without_a_fault_is_told():
    text = GOOD.replace("1.3", "1.35") + "1.3 start 51 a 1 701"
    assert "no fault explains it" in wrong(text)


@pytest.mark.parametrize(
    ("fault", "explains"),
    [
        ("1.25 fault 1 0.0 kill 50", True),
        ("1.15 fault 1 0.3 suspend 51", True),
        ("1.25 fault 1 0.0 kill 77", False),
        ("1.25 fault 1 0.0 terminate 50", False),
        ("1.25 fault 1 0.0 server *", True),
        ("9.0 fault 1 0.0 server *", False),
    ],
)
def test_a_doubled_run_is_explained_by_a_fault_of_its_own_or_of_all(fault, explains):
    text = GOOD.replace("1.3", "1.35") + f"1.3 start 51 a 1 701\n{fault}"
    verdict = judge(text)
    assert bool(verdict.violations) is not explains
    assert sum(verdict.doubled.values()) == explains


def test_a_fault_long_before_explains_nothing():
    late = "\n".join(
        line.replace("1.", "6.", 1) for line in GOOD.replace("1.3", "1.35").strip().splitlines()
    )
    assert "no fault" in wrong(f"1.0 fault 1 0.1 server *\n{late}\n6.3 start 51 a 1 701")


def test_a_graceful_stop_explains_a_run_that_it_cut_short():
    text = (
        "1.0 accepted 9 a quick\n1.1 start 50 a 1 700\n1.2 fault 1 0.0 roll 50\n"
        "1.3 end 50 a 1 700 CancelledError\n1.4 start 51 a 1 701\n1.5 end 51 a 1 701 ok\n"
        "1.6 settled 51 a 1 succeeded\n"
    )
    verdict = judge(text)
    assert (verdict.violations, verdict.interrupted) == ([], {"roll": 1})


def test_the_window_is_how_old_a_finished_run_was_when_it_was_hit():
    text = GOOD.replace("1.3", "1.35") + "1.29 fault 1 0.0 kill 50\n1.3 start 51 a 1 701"
    assert judge(text).window == pytest.approx(0.09)


def test_a_run_that_begins_after_the_end_needs_a_suspension():
    text = GOOD + "1.0 fault 1 1.0 suspend 60\n1.9 start 60 a 1 699\n"
    assert judge(text).violations == []
    told = judge(text.replace("suspend 60", "suspend 61")).violations
    assert any("0.600 s after its end" in what for what in told)


def test_jobs_of_one_key_do_not_run_at_once():
    one = "1.0 accepted 9 a once k\n1.1 start 50 a 1 700\n1.5 end 50 a 1 700 ok\n"
    one += "1.6 settled 50 a 1 succeeded\n"
    other = "1.05 accepted 9 b once k\n{} start 51 b 1 701\n{} end 51 b 1 701 ok\n"
    other += "2.6 settled 51 b 1 succeeded\n"
    ends = {"a": End("succeeded", 1), "b": End("succeeded", 1)}
    assert judge(one + other.format("1.7", "1.8"), ends).violations == []
    assert "ran beside job a" in wrong(one + other.format("1.4", "1.8"), ends)


def test_effects_are_there_once_if_the_job_succeeded():
    tale = read(line.split() for line in GOOD.replace("quick", "charge").strip().splitlines())
    assert check_effects(tale, SUCCEEDED, {"a": 1}) == []
    assert "0 times" in check_effects(tale, SUCCEEDED, {})[0]
    assert "2 times" in check_effects(tale, SUCCEEDED, {"a": 2})[0]
    assert "1 times" in check_effects(tale, {"a": End("dead", 1)}, {"a": 1})[0]
    assert unknown_effects(SUCCEEDED, {"a": 1}) == []
    assert "unknown" in unknown_effects(SUCCEEDED, {"a": 1, "b": 1})[0]


def test_a_line_that_is_none_is_refused():
    with pytest.raises(ValueError, match="no line 'begin'"):
        read([["1.0", "begin", "5", "a"]])


def test_recovery_is_measured_from_the_fault_to_the_work():
    text = (
        "1.0 start 50 a 1 700\n1.5 fault 1 0.0 kill 50\n2.25 start 51 a 1 701\n"
        "3.0 fault 1 1.0 server *\n4.5 end 51 a 1 701 ok\n"
    )
    tale = read(line.split() for line in text.splitlines())
    assert recovery(tale) == {"kill": 0.75, "server": 0.5}


def test_a_recovery_is_not_counted_when_something_else_was_broken_meanwhile():
    text = (
        "1.0 start 50 a 1 700\n1.5 fault 1 0.0 kill 50\n1.6 fault 1 0.0 kill 60\n"
        "2.25 start 51 a 1 701\n3.0 fault 1 1.0 server *\n4.2 fault 1 2.0 away *\n"
        "6.5 end 51 a 1 701 ok\n"
    )
    tale = read(line.split() for line in text.splitlines())
    assert recovery(tale) == {"away": 0.3}


def test_a_plan_follows_from_its_seed_and_has_each_kind():
    weights = {"kill": 1.0, "suspend": 1.0, "roll": 0.5, "never": 0.0}
    plan = draw(7, 1.0, weights)
    assert plan == draw(7, 1.0, weights)
    assert plan != draw(8, 1.0, weights)
    assert {planned.kind for planned in plan} == {"kill", "suspend", "roll"}
    assert all(0 <= planned.at < 60 for planned in plan)


# ---- limits

LIMITED = """
1.0 accepted 9 a quick
1.1 start 50 a 1 700 seat:1=1
4.5 end 50 a 1 700 ok
4.6 settled 50 a 1 succeeded
1.0 accepted 9 b quick
{at} start 51 b 1 701 seat:{seat}=1
4.7 end 51 b 1 701 ok
4.8 settled 51 b 1 succeeded
"""
BOTH = {"a": End("succeeded", 1), "b": End("succeeded", 1)}


def limited(at, *faults, seat=1, **options):
    """Judge a run of 3.4 s that holds the only seat, and one that begins meanwhile."""
    return judge(LIMITED.format(at=at, seat=seat) + "\n".join(faults), BOTH, **options)


def test_one_run_more_than_a_limit_allows_is_told():
    verdict = limited(4.4)
    [told] = verdict.violations
    assert told.startswith("job b (quick): began in 51 at 4.400 as number 2 under the limit")
    assert told.endswith("'seat:1' of 1, beside job a (quick) in 50")
    assert (verdict.limited.jobs, verdict.limited.most_at_once) == (2, 2)


def test_runs_one_after_the_other_and_of_other_keys_are_within_their_limits():
    for verdict in (limited(4.5), limited(4.4, seat=2)):
        assert verdict.violations == []
        assert (verdict.limited.jobs, verdict.limited.most_at_once) == (2, 1)


def test_a_limit_of_two_allows_two():
    verdict = judge(LIMITED.format(at=4.4, seat=1).replace("=1", "=2"), BOTH)
    assert (verdict.violations, verdict.limited.most_at_once) == ([], 2)


def test_runs_without_a_limit_are_not_counted():
    verdict = judge(LIMITED.format(at=4.4, seat=1).replace(" seat:1=1", ""), BOTH)
    assert (verdict.violations, verdict.limited.jobs, verdict.limited.most_at_once) == ([], 0, 0)


def test_a_key_is_read_as_it_was_written():
    text = LIMITED.format(at=4.4, seat=1).replace("seat:1", "a%20b%3Dc")
    assert "under the limit 'a b=c' of 1" in wrong(text, BOTH)


@pytest.mark.parametrize(
    ("at", "fault", "explains"),
    [
        (4.4, "2.0 fault 1 2.2 suspend 50", True),
        (4.4, "2.0 fault 1 2.2 away *", True),
        (4.4, "2.0 fault 1 0.5 silent *", True),  # ended, and within the slack
        (4.4, "2.0 fault 1 2.2 suspend 51", True),  # the other, which began as it was woken
        (4.4, "2.4 fault 1 1.9 suspend 51", False),  # for not as long as a slot lasts
        (4.4, "1.0 fault 1 2.2 suspend 51", False),  # it had been awake for a while
        (4.4, "2.0 fault 1 2.2 suspend 77", False),
        (4.4, "2.0 fault 1 2.2 roll 50", False),  # an orderly stop gives nothing away
        (4.4, "2.0 fault 1 0.0 terminate 50", False),
        (4.4, "2.0 fault 1 0.0 kill 50", False),  # it came to its end all the same
        (3.9, "2.0 fault 1 2.2 suspend 50", False),  # its slot lasts until 4.0 at least
        (4.4, "2.5 fault 1 2.2 away *", False),  # and here until 4.5
        (3.0, "0.5 fault 1 3.0 away *", False),  # renewed as it began
        (3.2, "0.5 fault 1 3.0 away *", True),
        (4.4, "0.1 fault 1 0.5 away *", False),  # over for longer than the slack
    ],
)
def test_a_run_loses_its_slot_by_a_fault_that_keeps_it_for_long_enough(at, fault, explains):
    verdict = limited(at, fault, lasts=2.0)
    assert bool(verdict.violations) is not explains
    assert verdict.limited.most_at_once == 2 - explains
    if explains:  # the run is there all the same
        assert verdict.limited.most_with_zombies == 2
        assert verdict.limited.slots_lost == 1


KILLED = LIMITED.replace("4.5 end 50 a 1 700 ok\n4.6 settled 50 a 1 succeeded\n", "")


def killed(*faults):
    """Judge a run that never came to its end, and one under the same limit 3.3 s later."""
    text = KILLED.format(at=4.4, seat=1) + "\n".join(faults)
    told = judge(text, {"a": End("dead"), "b": End("succeeded", 1)}).violations
    return [what for what in told if "under the limit" in what]


@pytest.mark.parametrize(
    ("fault", "explains"),
    [
        ("4.3 fault 1 0.0 kill 50", True),
        ("4.3 fault 1 0.1 host 49,50", True),
        ("4.3 fault 1 0.0 poison 50", True),
        ("1.0 fault 1 0.0 kill 50", True),  # noted, and it began before the signal came
        ("0.0 fault 1 0.0 kill 50", False),  # an earlier process of this number
        ("4.41 fault 1 0.0 kill 50", False),
        ("4.3 fault 1 0.0 kill 49", False),
        ("4.3 fault 1 0.0 orphan 50", False),
        ("4.3 fault 1 0.0 terminate 50", False),
    ],
)
def test_a_run_whose_process_was_killed_ends_there(fault, explains):
    assert bool(killed(fault)) is not explains


def test_a_run_that_never_ended_holds_its_slot_until_something_explains_it():
    assert "beside job a (quick) in 50" in killed()[0]
    assert killed("2.0 fault 1 3.0 suspend 50") == []


def test_a_store_that_forgets_settles_forgets_no_slots():
    assert limited(1.8, "1.5 fault 1 0.5 server *", forgets=("server",)).violations != []


# ---- in parts

TWO_PARTS = """
0.9 fault 1 0.1 cut *
1.0 accepted 9 a once k
1.1 start 50 a 1 700 seat=1
1.5 end 50 a 1 700 ok
1.6 settled 50 a 1 succeeded
1.0 accepted 9 b once k
1.4 start 51 b 1 701 seat=1
1.7 end 51 b 1 701 ok
1.8 settled 51 b 1 succeeded
1.0 accepted 9 c quick
"""


def test_a_ledger_in_parts_has_each_job_once_and_what_is_everybodys_each_time(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    ledger.path.write_text(TWO_PARTS.lstrip() + "1.9 end 51 b")  # the last is being written
    whole = read(ledger.lines())
    assert part_ledger(ledger, tmp_path / "parts", 3) == whole.ends
    parts = [read(Ledger(file).lines()) for file in (tmp_path / "parts").iterdir()]
    stories = [story for tale in parts for story in tale.stories.values()]
    assert sorted(stories, key=lambda story: story.job) == list(whole.stories.values())
    assert [list(tale.faults) for tale in parts] == 3 * [list(whole.faults)]


def test_what_is_judged_in_parts_is_judged_the_same(tmp_path):
    path = tmp_path / "ledger"
    path.write_text(TWO_PARTS.lstrip())
    ends = {**BOTH, "c": End("queued")}
    effects = [("x", "a")]
    verdicts = []
    for part in (1_000_000, 60):
        checker = Checker(ends, kinds=KINDS, reach=Reach(slack=2.0))
        found = judge_ledger(Ledger(path), checker, ends, effects, part=part)
        verdicts.append((sorted(found.wrong), found.accepted, found.recovery, found.verdict.jobs))
    assert verdicts[0] == verdicts[1]
    told = " ".join(verdicts[0][0])
    for what in ("still queued", "same unique key", "under the limit", "x left an effect"):
        assert what in told
