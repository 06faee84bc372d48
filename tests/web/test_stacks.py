"""A worker's page: what runs there, and where it stands, for operators only."""

from __future__ import annotations

from turnout import stacks
from turnout.stacks import LONGEST, PARTS, Stack


def told(job: str, text: str = '  File "shop.py", line 7, in charge\n    wait()') -> Stack:
    return Stack(job=job, task="shop.charge", started_at=1.0, text=text)


def test_running_jobs_and_where_they_stand(shop, open_as):
    job_id = shop.running()
    operator = open_as("operator")
    assert job_id in operator.get("/workers/one?epoch=e1")
    assert operator.json("/workers/one.json?epoch=e1")["told"] is None
    stacks.keep(shop.store, "e1", shop.app.clock(), [told(job_id)])
    text = operator.get("/workers/one?epoch=e1")
    assert "shop.py&#34;, line 7, in charge" in text
    assert operator.json("/workers/one.json?epoch=e1")["told"]["stacks"][0]["job"] == job_id


def test_a_viewer_sees_no_stack(shop, open_as):
    stacks.keep(shop.store, "e1", shop.app.clock(), [told(shop.running())])
    viewer = open_as("viewer")
    assert "shop.py" not in viewer.get("/workers/one?epoch=e1")
    assert viewer.json("/workers/one.json?epoch=e1")["told"] is None
    viewer.post("/workers/order", code=403, epoch="e1", order="dump", sure="yes")


def test_asking_leads_to_the_workers_page(shop, admin):
    shop.heartbeat()
    text = admin.follow("/workers/order", epoch="e1", order="dump", sure="yes")
    assert "arrives with the next heartbeat" in text
    assert "Nothing runs on it just now." in text
    [entry] = admin.json("/audit.json")["entries"]
    assert (entry["action"], entry["subject"]) == ("dump", "worker web1:4711:x")


def test_a_worker_that_ended_or_never_was(admin):
    admin.get("/workers/one?epoch=e9", code=404)
    admin.get("/workers/one", code=404)
    admin.get("/live?stacks=../../etc", code=400)


def test_too_much_is_left_out_and_counted(shop):
    many = [told(f"job {n}", "x" * LONGEST) for n in range(PARTS + 3)]
    stacks.keep(shop.store, "e1", 5.0, many)
    found = stacks.read(shop.store, "e1")
    assert (len(found.stacks), found.left_out) == (PARTS, 3)
    stacks.keep(shop.store, "e1", 6.0, many[:1])
    assert stacks.read(shop.store, "e1").stacks == tuple(many[:1]), "what was told last alone"
