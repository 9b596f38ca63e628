"""Counters and histograms, printed as TensorFlow Serving's metrics page prints them."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping

_PREFIX = ":tensorflow:serving:"
# Microseconds, as TensorFlow Serving's: 33 buckets, each 1.8 times as wide as the one before.
_BOUNDS = [10 * 1.8**power for power in range(33)]


class _Histogram:
    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS) + 1)
        self.total = 0.0


class Metrics:
    """What was asked of the server; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, str], int] = {}
        self._latencies: dict[tuple[str, str], dict[str, _Histogram]] = {
            ("request_latency", 'entrypoint="REST"'): {},
            ("runtime_latency", 'runtime="TF2"'): {},
        }

    def count_request(self, model: str, status: str) -> None:
        """Count an inference request that ended with a status code, for example OK or NOT_FOUND."""
        with self._lock:
            self._requests[model, status] = self._requests.get((model, status), 0) + 1

    def observe_request(self, model: str, api: str, seconds: float) -> None:
        """Note how long an answer took from the request's last byte."""
        self._observe(("request_latency", 'entrypoint="REST"'), model, api, seconds)

    def observe_run(self, model: str, api: str, seconds: float) -> None:
        """Note how long a request waited for its turn and ran."""
        self._observe(("runtime_latency", 'runtime="TF2"'), model, api, seconds)

    def _observe(self, kind: tuple[str, str], model: str, api: str, seconds: float) -> None:
        labels = f'model_name="{_escaped(model)}",API="{api}",{kind[1]}'
        micros = seconds * 1e6
        with self._lock:
            histogram = self._latencies[kind].setdefault(labels, _Histogram())
            histogram.counts[bisect_left(_BOUNDS, micros)] += 1
            histogram.total += micros

    def page(self, gauges: Iterable[tuple[str, int]], batch_sizes: Mapping[int, int]) -> str:
        """Return the page in the Prometheus text format.

        Args:
            gauges: names and present values.
            batch_sizes: how often so many requests ran together.
        """
        with self._lock:
            lines = list(self._counters()) + list(self._histograms())
        for name, value in gauges:
            lines += [f"# TYPE {_PREFIX}{name} gauge", f"{_PREFIX}{name} {value}"]
        lines.append(f"# TYPE {_PREFIX}batches counter")
        lines += [f'{_PREFIX}batches{{requests="{size}"}} {count}' for size, count in sorted(batch_sizes.items())]
        return "".join(line + "\n" for line in lines)

    def _counters(self) -> Iterable[str]:
        if self._requests:
            yield f"# TYPE {_PREFIX}request_count counter"
        for (model, status), count in sorted(self._requests.items()):
            labels = f'model_name="{_escaped(model)}",status="{status}"'
            yield f"{_PREFIX}request_count{{{labels}}} {count}"

    def _histograms(self) -> Iterable[str]:
        for (name, _), series in self._latencies.items():
            if series:
                yield f"# TYPE {_PREFIX}{name} histogram"
            for labels, histogram in sorted(series.items()):
                count = 0
                for bound, here in zip([*_BOUNDS, None], histogram.counts, strict=True):
                    count += here
                    edge = "+Inf" if bound is None else f"{bound:g}"
                    yield f'{_PREFIX}{name}_bucket{{{labels},le="{edge}"}} {count}'
                yield f"{_PREFIX}{name}_sum{{{labels}}} {histogram.total:g}"
                yield f"{_PREFIX}{name}_count{{{labels}}} {count}"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
