"""Prometheus metrics, read from the database at each scrape: `docs/metrics.md` lists every name.

They survive restarts, and a retired factor leaves no stale series behind. One module a subject;
`sheet` declares the families, `collector` asks every subject in turn.
"""

from daemon.metrics.collector import DatabaseCollector, build_registry

__all__ = ["DatabaseCollector", "build_registry"]
