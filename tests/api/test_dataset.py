from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from neptune.api import Dataset, DatasetList, DatasetSpec, DatasetStatus, ObjectMeta, Reason
from neptune.api.dataset import SUBDOMAIN_PATTERN
from neptune.protocol.topics import is_node_name


def names(model: type[DatasetSpec | DatasetStatus]) -> list[str]:
    return [field.serialization_alias or name for name, field in model.model_fields.items()]


def a_dataset() -> Dataset:
    """Return the proposal's sample."""
    return Dataset(
        metadata=ObjectMeta(name="dataset-examp"),
        spec=DatasetSpec(url="/code/data", format="txt", node_name="edge0"),
    )


def test_fields_of_the_proposal_come_first_and_in_its_order() -> None:
    assert names(DatasetSpec)[:3] == ["url", "format", "nodeName"]
    assert names(DatasetStatus)[:2] == ["updateTime", "numberOfSamples"]


def test_sample_of_the_proposal_is_written_as_it_stands_there() -> None:
    assert a_dataset().to_dict() == {
        "apiVersion": "neptune.io/v1alpha1",
        "kind": "Dataset",
        "metadata": {"name": "dataset-examp"},
        "spec": {"url": "/code/data", "format": "txt", "nodeName": "edge0"},
    }


def test_zero_samples_are_written_and_no_number_is_not() -> None:
    status = DatasetStatus(number_of_samples=0, update_time=datetime(2026, 1, 31, 12, tzinfo=UTC))
    assert status.to_dict() == {"updateTime": "2026-01-31T12:00:00Z", "numberOfSamples": 0}
    assert DatasetStatus().to_dict() == {}


def test_first_count_of_zero_is_a_change() -> None:
    dataset = Dataset.from_dict(a_dataset().to_dict())
    dataset.status.number_of_samples = 0
    assert dataset.merge_patch() == {"status": {"numberOfSamples": 0}}


def test_reasons_are_words_that_a_condition_takes() -> None:
    assert all(reason.value.isalpha() and reason.value[0].isupper() for reason in Reason)


@pytest.mark.parametrize("wrong", [{"url": ""}, {"url": None}, {"url": 5}, {"format": ""}, {"node_name": "Edge_0"}])
def test_spec_that_the_api_server_would_refuse_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DatasetSpec.model_validate({"url": "/a", "format": "txt", **wrong})


def test_spec_without_a_node_is_valid_as_in_the_proposal() -> None:
    assert DatasetSpec(url="/a", format="txt").node_name == ""


def test_list_is_read_with_its_items() -> None:
    listed = DatasetList.model_validate({"metadata": {"resourceVersion": "7"}, "items": [a_dataset().to_dict()]})
    assert (listed.metadata.resource_version, listed.items[0].spec.node_name) == ("7", "edge0")


@pytest.mark.parametrize("name", ["edge0", "a.b-c.d", "A", "-a", "a..b", "a_b", "a" * 64 + ".b"])
def test_pattern_of_a_node_name_is_the_rule_of_the_link(name: str) -> None:
    def fits(text: str) -> bool:
        try:
            DatasetSpec(url="/a", format="txt", node_name=text)
        except ValidationError:
            return False
        return True

    assert SUBDOMAIN_PATTERN.startswith("^")
    assert fits(name) == is_node_name(name)
