"""Prometheus: what a store knows, as a collector for a registry of your own.

    from prometheus_client import REGISTRY
    REGISTRY.register(Collector(jobs))

The dashboard serves the same at /metrics, behind its `authorize`.
"""

from turnout.web.exposition import Collector

__all__ = ["Collector"]
