"""What is seen of a run: by window, and as figures; and of many runs: medians and their bands.

Words: goodput is jobs that end well, by the second. Load is calls by the second, as a multiple of
the calls that would be made if none failed. Recovery is the time from the end of the last fault to
the beginning of the healthy windows (see `Healthy`); None when they never came.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from turnout.sim.scenario import Scenario

__all__ = ["Band", "Run", "Summary", "Watch", "band", "summarize"]


class Point(msgspec.Struct, frozen=True):
    """One window of a run: when it ended, and rates by the second within it."""

    at: float
    arrived: float
    goodput: float
    calls: float
    oldest: float  # seconds since the oldest unfinished job was enqueued
    p95: float  # seconds from enqueue to end, of 95 % of the jobs that ended well; 0 without any


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one run."""

    jobs: int
    done: int
    dead: int
    attempts: int
    goodput: float  # a second, after the trouble
    attempts_per_job: float  # of the jobs that were tried at all
    peak_load: float
    peak_running: int
    oldest: float
    recovery: float | None
    busy: float  # share of the service's capacity that was used
    points: tuple[Point, ...]


class Watch:
    """Gathers what happens in one run, in order of time."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._width = scenario.healthy.window
        self._created: list[float] = []
        self._ended: list[bool] = []
        self._oldest = 0  # number of the oldest unfinished job
        self._points: list[Point] = []
        self._arrived = self._calls = 0
        self._latencies: list[float] = []
        self._tried = 0
        self.done = self.dead = self.attempts = self.peak_running = 0

    def pass_to(self, now: float) -> None:
        """Close the windows that are over at `now`."""
        while now >= (len(self._points) + 1) * self._width:
            self._close()

    def arrived(self, now: float) -> int:
        """Note a new job and return its number."""
        self._arrived += 1
        self._created.append(now)
        self._ended.append(False)
        return len(self._created) - 1

    def called(self, running: int) -> None:
        """Note a call, with the number of workers that are busy by now."""
        self._calls += 1
        self.attempts += 1
        self.peak_running = max(self.peak_running, running)

    def ended(self, number: int, now: float, *, is_good: bool) -> None:
        """Note the end of a job."""
        self._ended[number] = True
        if is_good:
            self.done += 1
            self._latencies.append(now - self._created[number])
        else:
            self.dead += 1

    def result(self, work: float) -> Run:
        """Return the figures; `work` is the seconds of service that were given."""
        scenario = self._scenario
        while (len(self._points) + 1) * self._width <= scenario.duration:
            self._close()
        after = [one for one in self._points if one.at > scenario.trouble_ends + self._width / 2]
        normal = scenario.arrivals.rate
        finished = self.done + self.dead
        return Run(
            jobs=len(self._created),
            done=self.done,
            dead=self.dead,
            attempts=self.attempts,
            goodput=_mean([one.goodput for one in after]),
            attempts_per_job=self.attempts / finished if finished else 0.0,
            peak_load=max((one.calls for one in self._points), default=0.0) / normal,
            peak_running=self.peak_running,
            oldest=max((one.oldest for one in self._points), default=0.0),
            recovery=self._recovery(after),
            busy=work / (scenario.service.knee * scenario.duration),
            points=tuple(self._points),
        )

    def _close(self) -> None:
        at = (len(self._points) + 1) * self._width
        while self._oldest < len(self._ended) and self._ended[self._oldest]:
            self._oldest += 1
        waiting = self._oldest < len(self._created)
        self._points.append(
            Point(
                at,
                self._arrived / self._width,
                len(self._latencies) / self._width,
                self._calls / self._width,
                at - self._created[self._oldest] if waiting else 0.0,
                quantile(sorted(self._latencies), 0.95),
            )
        )
        self._arrived = self._calls = 0
        self._latencies = []

    def _recovery(self, after: list[Point]) -> float | None:
        healthy, in_a_row = self._scenario.healthy, 0
        for point in after:
            enough = point.goodput >= healthy.goodput * point.arrived
            in_a_row = in_a_row + 1 if enough and point.p95 < healthy.latency else 0
            if in_a_row == healthy.windows:
                first = point.at - healthy.windows * self._width
                return first - self._scenario.trouble_ends
        return None


class Band(msgspec.Struct, frozen=True):
    """The median of several runs, and between which values 90 % of them lie; infinite: never."""

    low: float
    median: float
    high: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One contender's runs, together. Curves have a band for each window."""

    name: str
    runs: int
    recovered: int
    recovery: Band
    attempts_per_job: Band
    goodput: Band
    done: Band  # share of the jobs
    dead: Band
    peak_load: Band
    peak_running: Band
    oldest: Band
    goodput_curve: tuple[Band, ...]
    oldest_curve: tuple[Band, ...]


def summarize(name: str, runs: Sequence[Run]) -> Summary:
    """Return the medians and bands of one contender's runs."""
    by_window = list(zip(*(run.points for run in runs), strict=True))
    return Summary(
        name=name,
        runs=len(runs),
        recovered=sum(run.recovery is not None for run in runs),
        recovery=band([math.inf if run.recovery is None else run.recovery for run in runs]),
        attempts_per_job=band([run.attempts_per_job for run in runs]),
        goodput=band([run.goodput for run in runs]),
        done=band([run.done / run.jobs if run.jobs else 0.0 for run in runs]),
        dead=band([run.dead / run.jobs if run.jobs else 0.0 for run in runs]),
        peak_load=band([run.peak_load for run in runs]),
        peak_running=band([float(run.peak_running) for run in runs]),
        oldest=band([run.oldest for run in runs]),
        goodput_curve=tuple(band([point.goodput for point in points]) for points in by_window),
        oldest_curve=tuple(band([point.oldest for point in points]) for points in by_window),
    )


def band(values: Sequence[float]) -> Band:
    """Return the median, with the 5 % and 95 % quantiles."""
    ordered = sorted(values)
    return Band(quantile(ordered, 0.05), quantile(ordered, 0.5), quantile(ordered, 0.95))


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the nearest-rank quantile of sorted values; 0.0 without any."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
