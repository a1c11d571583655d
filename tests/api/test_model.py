from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from neptune.api import Metric, Model, ModelList, ModelSpec, ModelStatus, ObjectMeta


def a_model() -> Model:
    """Return the proposal's sample."""
    return Model(metadata=ObjectMeta(name="model-examp"), spec=ModelSpec(url="/model/frozen.pb", format="pb"))


def test_fields_of_the_proposal_come_first_and_in_its_order() -> None:
    assert list(ModelSpec.model_fields)[:2] == ["url", "format"]
    aliases = [field.serialization_alias or name for name, field in ModelStatus.model_fields.items()]
    assert aliases[:2] == ["updateTime", "metrics"]
    assert list(Metric.model_fields) == ["key", "value"]


def test_sample_of_the_proposal_is_written_as_it_stands_there() -> None:
    assert a_model().to_dict() == {
        "apiVersion": "neptune.io/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "model-examp"},
        "spec": {"url": "/model/frozen.pb", "format": "pb"},
    }


def test_metrics_are_written_as_pairs_of_text() -> None:
    model = Model.from_dict(a_model().to_dict())
    model.status.metrics.append(Metric(key="accuracy", value="0.93"))
    model.status.update_time = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert model.merge_patch() == {
        "status": {"updateTime": "2026-01-31T12:00:00Z", "metrics": [{"key": "accuracy", "value": "0.93"}]}
    }


@pytest.mark.parametrize("wrong", [{"key": ""}, {"value": 0.93}, {"value": None}])
def test_metric_that_the_api_server_would_refuse_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Metric.model_validate({"key": "accuracy", "value": "0.93", **wrong})


def test_list_is_read_with_its_items() -> None:
    assert ModelList.model_validate({"items": [a_model().to_dict()]}).items[0].kind == "Model"
