from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neptune.embedded.apiserver.protobuf import decode


def field(number: int, contents: bytes) -> bytes:
    assert len(contents) < 128
    return bytes([number << 3 | 2, len(contents)]) + contents


def message(kind: str, *parts: bytes) -> bytes:
    identity = field(1, b"v1") + field(2, kind.encode())
    return b"k8s\x00" + field(1, identity) + field(2, b"".join(parts))


def test_config_map_is_read_and_zeros_are_left_out() -> None:
    labels = field(11, field(1, b"l") + field(2, b"1"))
    metadata = field(1, field(1, b"c") + labels + field(14, b"x/y") + field(8, b"") + b"\x38\x00")
    data = field(2, field(1, b"a") + field(2, b"b")) + field(2, field(1, b"empty"))
    assert decode(message("ConfigMap", metadata, data, b"\x20\x01")) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "labels": {"l": "1"}, "finalizers": ["x/y"]},
        "data": {"a": "b", "empty": ""},
        "immutable": True,
    }


def test_kind_that_is_not_read_is_none() -> None:
    assert decode(message("Secret")) is None


def test_field_that_is_not_read_is_not_dropped() -> None:
    with pytest.raises(ValueError, match="does not read field 2"):
        decode(message("Namespace", field(1, field(1, b"n")), field(2, field(1, b"kubernetes"))))


@given(st.binary(max_size=40))
def test_junk_is_a_value_error_or_an_object(junk: bytes) -> None:
    for data in (junk, b"k8s\x00" + junk, message("ConfigMap", junk)):
        with contextlib.suppress(ValueError):
            assert decode(data) is None or isinstance(decode(data), dict)
