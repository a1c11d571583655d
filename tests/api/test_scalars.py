"""Values in Kubernetes' own words."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from neptune.api import Duration, IntOrString, KubeModel, Quantity


class Values(KubeModel):
    every: Duration = timedelta(seconds=10)
    amount: Quantity = "1"
    port: IntOrString = 1


@pytest.mark.parametrize(
    ("text", "seconds", "written"),
    [
        ("90s", 90, "1m30s"),
        ("1h30m", 5400, "1h30m"),
        ("1.5h", 5400, "1h30m"),
        ("300ms", 0.3, "0.3s"),
        ("1h0m5s", 3605, "1h5s"),
        ("0", 0, "0s"),
        ("-2m", -120, "-2m"),
        ("-1.5s", -1.5, "-1.5s"),
        ("2us", 2e-6, "0.000002s"),
        ("48h", 172800, "48h"),
    ],
)
def test_duration_reads_go_s_words_and_writes_them(text: str, seconds: float, written: str) -> None:
    values = Values.model_validate({"every": text})
    assert values.every == timedelta(seconds=seconds)
    assert values.to_dict() == {"every": written}
    assert Values.model_validate({"every": written}).every == values.every


@pytest.mark.parametrize("text", ["1 day", "P1D", "", "10", "1h-5m", "h"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValidationError, match="1h30m"):
        Values.model_validate({"every": text})


@pytest.mark.parametrize(("given", "kept"), [("500m", "500m"), ("2Gi", "2Gi"), (2, "2"), (0.5, "0.5"), ("1e3", "1e3")])
def test_quantity_is_kept_as_it_was_written(given: object, kept: str) -> None:
    assert Values.model_validate({"amount": given}).amount == kept


def test_what_is_no_quantity_is_refused() -> None:
    with pytest.raises(ValidationError):
        Values.model_validate({"amount": "much"})


def test_a_number_and_its_string_stay_what_they_are() -> None:
    assert [Values.model_validate({"port": value}).port for value in (80, "80", "http")] == [80, "80", "http"]
