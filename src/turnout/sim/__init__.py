"""The simulator: how policies bear a storm, in virtual time, before customers find out.

It runs the very objects that workers run (`turnout.retry`, `turnout.limits`); only the arrivals,
the workers and the service that they call are a model. See docs/storms.md.
"""

from __future__ import annotations

from turnout.sim.compare import compare
from turnout.sim.reading import load_scenario
from turnout.sim.scenario import Scenario

__all__ = ["Scenario", "compare", "load_scenario"]
