"""What Prometheus reads of a server (`/metrics`). It needs prometheus-client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from fkdsl.serve.models import ServedModels
from fkdsl.serve.runs import Runs

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
SHARES = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)


class Metrics:
    """The counters of a server. Programs that came in a request are counted under one name, so
    that strangers cannot make the list of names grow."""

    def __init__(self, runs: Runs, models: ServedModels) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter(
            "requests", "Requests by program and HTTP status", "program", "status"
        )
        self.seconds = Histogram(
            "fkdsl_run_seconds", "Seconds of a run, the time that it waited not counted",
            ["program"], buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.ess = Histogram(
            "fkdsl_ess_share", "Effective sample size of a run's final weights, of its particles",
            ["program"], buckets=SHARES, registry=self.registry,
        )  # fmt: skip
        self.tokens = self._counter("forwarded_tokens", "Tokens through the models", "program")
        self.particles = self._counter("particles", "Particles of runs that ended", "program")
        self.died = self._counter("particles_died", "Particles that died on their way", "program")
        self.deaths = self._counter("populations_died", "Runs none of whose particles lived",
                                    "program")  # fmt: skip
        self.left = self._counter("clients_left", "Runs ended since their client left", "program")
        self.workers = self._counter("workers", "Worker processes by how they ended", "end")
        self.registry.register(_Gauges(runs, models))

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(f"fkdsl_{name}", help, list(labels), registry=self.registry)

    def ran(self, program: str, answer: dict[str, Any]) -> None:
        """Counts a run that has a result, by its JSON."""
        self.seconds.labels(program).observe(answer["seconds"])
        self.tokens.labels(program).inc(answer["forwarded_tokens"])
        n = len(answer["particles"])
        self.particles.labels(program).inc(n)
        if n:
            self.ess.labels(program).observe(min(1.0, (answer["ess"] or 0.0) / n))

    def page(self) -> tuple[bytes, str]:
        """(the page, its content type)."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


class _Gauges:
    """What is read off the server when Prometheus asks."""

    def __init__(self, runs: Runs, models: ServedModels) -> None:
        self.runs, self.models = runs, models

    def collect(self) -> Iterator[Metric]:
        going, waiting = self.runs.counts
        yield GaugeMetricFamily("fkdsl_runs", "Runs that go on", value=going)
        yield GaugeMetricFamily("fkdsl_queue", "Requests that wait for their turn", value=waiting)
        forwards = CounterMetricFamily("fkdsl_forwards", "Batched forwards", labels=["model"])
        shared = CounterMetricFamily(
            "fkdsl_shared_forwards", "Forwards with rows of several runs", labels=["model"]
        )
        rows = CounterMetricFamily("fkdsl_forward_rows", "Rows of forwards", labels=["model"])
        seconds = CounterMetricFamily("fkdsl_forward_seconds", "Seconds in them", labels=["model"])
        asked = CounterMetricFamily(
            "fkdsl_prompts", "Prompts asked of what runs share", labels=["model", "here"]
        )
        kept = GaugeMetricFamily("fkdsl_prompt_bytes", "Bytes of shared prompts", labels=["model"])
        slots = GaugeMetricFamily(
            "fkdsl_cached_tokens", "Tokens whose keys and values are held", labels=["model"]
        )
        for of in self.models.all():
            name, counts = [of.forwards.model.name], [f.counts for f in of.forwards.all()]
            forwards.add_metric(name, sum(c.forwards for c in counts))
            shared.add_metric(name, sum(c.shared for c in counts))
            rows.add_metric(name, sum(c.rows for c in counts))
            seconds.add_metric(name, sum(c.seconds for c in counts))
            asked.add_metric([*name, "yes"], of.prompts.hits)
            asked.add_metric([*name, "no"], of.prompts.misses)
            kept.add_metric(name, of.prompts.nbytes)
            pool = getattr(of.forwards.model, "pool", None)
            if pool is not None:
                slots.add_metric(name, pool.used)
        yield from (forwards, shared, rows, seconds, asked, kept, slots)
