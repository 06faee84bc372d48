"""A scenario: what arrives, what it calls, what goes wrong, who works, which policies compete.

Frozen values, times in seconds of virtual time, rates by the second. Invariant: a scenario that
exists is sound; each part refuses its own faults, all of them at once.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from turnout.limits import Dependency, Limit
from turnout.limits.faults import number_faults, refuse, whole_faults
from turnout.retry import Policy
from turnout.sim.trouble import Raises

__all__ = ["Arrivals", "Contender", "Fault", "Healthy", "Scenario", "Service"]

MOST_JOBS = 2_000_000


class Arrivals(msgspec.Struct, frozen=True, kw_only=True):
    """How jobs come in: `rate` a second on average.

    poisson: independent of each other. even: one every 1/rate seconds. burst: poisson, and `size`
    more at once every `every` seconds. daily: poisson, the rate swinging between rate/`peak` and
    rate x `peak` over `period` seconds, lowest at the start.
    """

    shape: Literal["poisson", "even", "burst", "daily"] = "poisson"
    rate: float
    every: float = 60.0
    size: int = 100
    peak: float = 3.0
    period: float = 86_400.0

    def __post_init__(self) -> None:
        """Refuse what cannot arrive."""
        faults = number_faults("rate", self.rate, most=100_000) + number_faults("every", self.every)
        faults += whole_faults("size", self.size, 0) + number_faults("period", self.period)
        faults += number_faults("peak", self.peak, least=1, most=1_000, above=False)
        refuse("arrivals", faults)


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """The service that every job calls once: up to `knee` calls at once are served at full speed.

    A call needs `time` seconds of service, spread by `spread` (its deviation as a share of `time`).
    More calls than `knee` share the capacity, so each takes longer in proportion. The caller gives
    up after `timeout`; then the service stops working on the call, or `abandoned = "run"` does not
    notice. `failing` is the share of calls that fail on a good day, `quota` the calls a second
    above which it answers 429 (naming `retry_after`), in `refusal` seconds.
    """

    time: float = 0.2
    spread: float = 0.5
    knee: int = 5
    timeout: float = 1.2
    abandoned: Literal["stop", "run"] = "stop"
    failing: float = 0.0
    quota: float | None = None
    retry_after: float | None = None
    refusal: float = 0.01

    def __post_init__(self) -> None:
        """Refuse an impossible service."""
        faults = number_faults("time", self.time) + number_faults("timeout", self.timeout)
        faults += number_faults("spread", self.spread, most=3, above=False)
        faults += number_faults("failing", self.failing, most=1, above=False)
        faults += whole_faults("knee", self.knee, 1) + number_faults("refusal", self.refusal)
        if self.quota is not None:
            faults += number_faults("quota", self.quota, most=1e6)
        if self.retry_after is not None:
            faults += number_faults("retry_after", self.retry_after)
        refuse("service", faults)

    @property
    def capacity(self) -> float:
        """Calls a second that it can serve."""
        return self.knee / self.time


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Something goes wrong from `at`, for `lasts` seconds (`for` in the file).

    outage: no call gets anywhere, all time out. refuse: every call is refused at once. errors:
    `share` of the calls fail at their end. slow: everything takes `factor` times longer.
    """

    kind: Literal["outage", "refuse", "errors", "slow"]
    at: float
    lasts: float = msgspec.field(name="for")
    share: float = 1.0
    factor: float = 10.0

    def __post_init__(self) -> None:
        """Refuse an impossible fault."""
        faults = number_faults("at", self.at, above=False) + number_faults("for", self.lasts)
        faults += number_faults("share", self.share, most=1)
        faults += number_faults("factor", self.factor, least=1, most=1e6)
        refuse("fault", faults)

    @property
    def ends(self) -> float:
        """When it is over."""
        return self.at + self.lasts


class Healthy(msgspec.Struct, frozen=True, kw_only=True):
    """What counts as recovered: `windows` in a row, each of `window` seconds, in which `goodput`
    (a share of what arrives) is reached and 95 % of the jobs that end took less than `latency`.
    """

    window: float = 10.0
    windows: int = 3
    goodput: float = 0.8
    latency: float = 2.0

    def __post_init__(self) -> None:
        """Refuse an impossible measure."""
        faults = number_faults("window", self.window) + whole_faults("windows", self.windows, 1)
        faults += number_faults("goodput", self.goodput, most=1)
        faults += number_faults("latency", self.latency)
        refuse("healthy", faults)


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """One set of policies, as production objects, and the errors that its rules are written for."""

    name: str
    policy: Policy
    limits: tuple[Limit, ...] = ()
    dependency: Dependency | None = None
    raises: Raises = Raises()


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One experiment: the same days for every contender, `seeds` of them."""

    arrivals: Arrivals
    duration: float
    workers: int
    contenders: tuple[Contender, ...]
    name: str = "scenario"
    seeds: int = 20
    service: Service = Service()
    faults: tuple[Fault, ...] = ()
    healthy: Healthy = Healthy()

    def __post_init__(self) -> None:
        """Refuse what the parts cannot see alone."""
        faults = number_faults("duration", self.duration) + whole_faults("workers", self.workers, 1)
        faults += whole_faults("seeds", self.seeds, 1, 1_000)
        if not faults and self.arrivals.rate * self.duration > MOST_JOBS:
            faults.append(f"rate x duration is over {MOST_JOBS:,} jobs: shorten it, or scale down")
        late = [fault.kind for fault in self.faults if fault.ends >= self.duration]
        if late and not faults:
            faults.append(f"{', '.join(late)}: over only after `duration`; recovery needs time")
        names = [one.name for one in self.contenders]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            faults.append(f"several policies are called {', '.join(twice)}")
        refuse("scenario", faults)

    @property
    def trouble_ends(self) -> float:
        """When the last fault is over; 0 without one."""
        return max((fault.ends for fault in self.faults), default=0.0)
