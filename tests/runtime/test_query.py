from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import Field

from neptune.api import KubeModel
from neptune.runtime import DecodeError
from neptune.runtime.query import decode
from tests.runtime.widgets import Widget, item


class Part(KubeModel):
    serial_number: int


class Assembled(Widget):
    parts: list[Part] = Field(default_factory=list)


def problem(**fields: Any) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(Assembled, json.dumps({**item("a"), **fields}).encode())
    return str(caught.value)


def test_an_object_that_does_not_fit_is_named_with_its_fields_in_one_line_and_without_their_values() -> None:
    text = problem(spec={"size": "hunter2"}, parts=[{"serialNumber": 1}, {}])
    assert text == (
        "widgets.example.com ns/a does not fit its type, correct it or its schema: "
        "spec.size: Input should be a valid integer, unable to parse string as an integer; "
        "parts.1.serialNumber: Field required"
    )


def test_the_list_of_fields_is_cut() -> None:
    text = problem(parts=[{}] * 9)
    assert text.count("serialNumber") == 5
    assert text.endswith("; and 4 more")
