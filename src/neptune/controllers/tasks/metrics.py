"""From what workers measured to the metrics of a Model.

Invariant: the same reports give the same texts, in whatever order they came. Pure functions.
Neighbours: `federated` asks for the mean, `reconciler` writes the Model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from fractions import Fraction

from neptune.api import Condition, Metric, Model, Resource, set_condition
from neptune.protocol.work import MAX_METRICS, is_finite_number


def weighted_mean(measured: Iterable[tuple[int | None, Mapping[str, str]]]) -> dict[str, str]:
    """Return the mean of each metric over those that have it, weighted by their samples.

    What does not read as a finite number is left out. Where somebody's samples are not known, or nobody has any, all
    count the same. Reckoned in fractions, so that neither the order nor the number of parts shows in the last digit;
    written in the fewest digits that read as the same number.
    """
    values: dict[str, list[tuple[int | None, Fraction]]] = {}
    for samples, metrics in measured:
        for name, text in metrics.items():
            if is_finite_number(text):
                values.setdefault(name, []).append((samples, Fraction(float(text))))
    return {name: repr(_mean(found)) for name, found in sorted(values.items())}


def _mean(values: Iterable[tuple[int | None, Fraction]]) -> float:
    known = [(samples, value) for samples, value in values]
    weights = [samples or 0 for samples, _ in known]
    if any(samples is None for samples, _ in known) or not sum(weights):
        weights = [1] * len(known)
    total = sum((weight * value for weight, (_, value) in zip(weights, known, strict=True)), Fraction(0))
    return float(total / sum(weights))


def show_metrics(model: Model, metrics: Mapping[str, str], task: Resource, now: datetime) -> None:
    """The work of `task` has completed: these are the model's metrics, sorted by key; at most `MAX_METRICS` of them."""
    kept = sorted(metrics.items())[:MAX_METRICS]
    model.status.metrics = [Metric(key=key, value=value) for key, value in kept]
    model.status.update_time = now
    model.status.observed_generation = model.metadata.generation
    left_out = f"; {len(metrics) - len(kept)} more were left out" if len(metrics) > len(kept) else ""
    set_condition(
        model.status.conditions,
        Condition(
            type="Ready",
            status="True" if kept else "False",
            reason="Measured" if kept else "NoMetrics",
            message=f"{task.kind} {task.metadata.name} reported {len(metrics)} metrics{left_out}",
            observed_generation=model.metadata.generation,
            last_transition_time=now,
        ),
    )
