"""Workers under faults: break them by a seeded plan, and check what became of every job.

schedule.py   seed -> faults, each with its moment, length and victim        (pure)
fleet.py      supervisors as processes, and what is done to them
worker.py     one such supervisor: the application, with every attempt noted
ledger.py     what happened, one appended line each, surviving any kill
faults.py     what was done, and to whom                                     (pure)
stories.py    a ledger's lines, put together job by job                      (pure)
checker.py    stories + final states + faults -> a verdict                   (pure)
overlap.py    what ran at one time and must not have: unique keys, limits     (pure)
recovery.py   how long it took until work went on                            (pure)
probe.py      the job by which `turnout chaos` looks
staging.py    `turnout chaos`: all of it for an application in staging
"""

from __future__ import annotations
