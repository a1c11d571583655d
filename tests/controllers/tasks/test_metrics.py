"""From what workers measured to a Model's metrics: the same reports, the same texts."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from neptune.api import Condition, FederatedTask, Model, get_condition
from neptune.controllers.tasks.metrics import show_metrics, weighted_mean

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("measured", "mean"),
    [
        ([(100, {"loss": "0.5"}), (300, {"loss": "0.1"})], {"loss": "0.2"}),
        ([(1, {"a": "0.1"}), (1, {"a": "0.1"}), (1, {"a": "0.1"})], {"a": "0.1"}),
        ([(1, {"b": "1", "a": "2"}), (1, {"a": "4"})], {"a": "3.0", "b": "1.0"}),
        ([(0, {"a": "1"}), (0, {"a": "2"})], {"a": "1.5"}),
        ([(0, {"a": "1"}), (5, {"a": "2"})], {"a": "2.0"}),
        ([(None, {"a": "1"}), (5, {"a": "2"})], {"a": "1.5"}),
        ([(1, {"a": "1e308"}), (1, {"a": "1e308"})], {"a": "1e+308"}),
        ([(1, {"a": "good", "b": "nan", "c": "inf", "d": ""})], {}),
        ([(1, {"a": "good"}), (3, {"a": "7"})], {"a": "7.0"}),
        ([], {}),
    ],
    ids=[
        "weighted",
        "equal",
        "some have it",
        "no samples",
        "one has none",
        "unknown",
        "large",
        "no number",
        "some",
        "no",
    ],
)
def test_the_mean_is_weighted_by_samples_over_those_that_have_a_number(
    measured: list[tuple[int | None, dict[str, str]]], mean: dict[str, str]
) -> None:
    assert weighted_mean(measured) == mean


def test_the_order_of_the_reports_does_not_show_in_the_last_digit() -> None:
    rng = random.Random(7)  # noqa: S311 - numbers, no secret
    measured = [(rng.randrange(1, 10_000), {"loss": repr(rng.uniform(-3, 3))}) for _ in range(64)]
    means = set()
    for _ in range(20):
        rng.shuffle(measured)
        means.add(weighted_mean(measured)["loss"])
    assert len(means) == 1


def a_model() -> Model:
    return Model.from_dict({"metadata": {"name": "m", "generation": 3}, "spec": {"url": "/m", "format": "npz"}})


def shown(metrics: dict[str, str]) -> Model:
    model = a_model()
    show_metrics(model, metrics, FederatedTask.from_dict(
        {"metadata": {"name": "digits"}, "spec": {"model": {"name": "m"}, "participants": [{"dataset": "d"}]}}
    ), NOW)  # fmt: skip
    return Model.from_dict(model.to_dict())


def ready(model: Model) -> Condition:
    found = get_condition(model.status.conditions, "Ready")
    assert found is not None
    return found


def test_a_model_shows_them_sorted_with_the_time_and_who_measured() -> None:
    model = shown({"loss": "0.1", "accuracy": "0.9"})
    assert [(each.key, each.value) for each in model.status.metrics] == [("accuracy", "0.9"), ("loss", "0.1")]
    assert (model.status.update_time, model.status.observed_generation) == (NOW, 3)
    assert (ready(model).status, ready(model).reason) == ("True", "Measured")
    assert ready(model).message == "FederatedTask digits reported 2 metrics"


def test_more_metrics_than_a_model_takes_are_left_out_in_sight() -> None:
    model = shown({f"m{number:03}": "1" for number in range(300)})
    assert len(model.status.metrics) == 256
    assert ready(model).message == "FederatedTask digits reported 300 metrics; 44 more were left out"


def test_work_without_metrics_leaves_none_and_says_so() -> None:
    model = shown({})
    assert (model.status.metrics, ready(model).status, ready(model).reason) == ([], "False", "NoMetrics")
