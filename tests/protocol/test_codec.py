from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neptune.protocol import codec, messages
from neptune.protocol.codec import MessageError, batches, decode, encode, size
from neptune.protocol.messages import (
    Body,
    ConditionReport,
    DesiredObject,
    Get,
    Header,
    ObjectsResult,
    StatusReport,
    StatusResult,
    StatusUpdate,
    Updated,
    Verdict,
)
from tests.protocol.mutations import BODIES, HEADER, JSON, mutated
from tests.protocol.samples import a_report, an_object


def text(data: object) -> bytes:
    return json.dumps(data).encode()


def a_get(**changes: object) -> bytes:
    return text({**json.loads(encode(Header("e", 1), Get("r", "s"))), **changes})


def a_push(spec: object) -> bytes:
    item = {**asdict(an_object("u")), "spec": spec}
    return text({**json.loads(encode(Header("e", 1), Updated((), ()))), "body": {"objects": [item], "deleted": []}})


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.TYPE)
def test_message_is_read_as_it_was_written(body: Body) -> None:
    assert decode(encode(HEADER, body)) == (HEADER, body)


def test_envelope_has_the_fields_of_the_event_bus_and_our_own() -> None:
    envelope = json.loads(encode(HEADER, Get("r", "s")))
    assert envelope == {
        "v": 1, "type": "sync.get", "event_id": "edge0-1-2", "timestamp": 1_700_000_000_000, "cloud_epoch": 5,
        "node_epoch": 6, "seq": 7, "code": 503, "reason": "ask again", "cluster": "k",
        "body": {"root": "r", "status_root": "s"},
    }  # fmt: skip


def test_unknown_fields_of_a_newer_sender_are_ignored() -> None:
    data = json.loads(encode(HEADER, Updated((an_object("u"),), ())))
    data["later"] = data["body"]["later"] = data["body"]["objects"][0]["later"] = {"deep": [1]}
    assert decode(text(data)) == (HEADER, Updated((an_object("u"),), ()))


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe\xfd", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (a_get(type="sync.never"), "unknown type 'sync.never'"),
        (a_get(type=["sync.get"]), "unknown type list"),
        (a_get(body=None), "body. is not an object"),
        (a_get(event_id=1), "event_id is not of type str"),
        (a_get(event_id="a\0b"), "event_id is too long or holds a NUL"),
        (a_get(event_id="a" * 5000), "event_id is too long or holds a NUL"),
        (a_get(timestamp=True), "timestamp is not of type int"),
        (a_get(timestamp=1.0), "timestamp is not of type int"),
        (a_get(seq=-1), "seq is out of bounds"),
        (a_get(seq=2**53), "seq is out of bounds"),
        (b'{"v":1,"type":"sync.get","body":{}}', "event_id"),
        (a_get(event_id="\ud800"), "event_id holds half a surrogate pair"),
        (a_push("/data"), "spec is not of type Json"),
        (a_push({"a": float("nan")}), "spec holds a number that JSON does not have"),
        (a_push({"a": [float("inf")]}), "spec holds a number that JSON does not have"),
        (a_push({"\ud800": 1}), "spec holds half a surrogate pair"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_message_that_cannot_be_read_says_what_is_wrong(payload: bytes, reason: str) -> None:
    with pytest.raises(MessageError) as caught:
        decode(payload)
    assert reason in str(caught.value)
    assert caught.value.code == messages.BAD_REQUEST


@pytest.mark.parametrize("version", [None, 2, True, 1.0, "1"])
def test_other_version_is_answered_with_upgrade(version: object) -> None:
    with pytest.raises(MessageError, match="this side speaks 1") as caught:
        decode(a_get(v=version))
    assert caught.value.code == messages.UPGRADE


def test_too_large_message_is_not_looked_at() -> None:
    with pytest.raises(MessageError, match="at most 131072") as caught:
        decode(b" " * (codec.MAX_MESSAGE_BYTES + 1))
    assert caught.value.code == messages.TOO_LARGE


@pytest.mark.parametrize("field", ["v", "type"])
@pytest.mark.parametrize("value", ["x" * 100_000, list(range(20_000))], ids=["text", "list"])
def test_reason_stays_short_whatever_was_sent(field: str, value: object) -> None:
    with pytest.raises(MessageError) as caught:
        decode(a_get(**{field: value}))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("depth", [33, 300, 900])
def test_spec_that_is_nested_too_deep_to_copy_is_refused(depth: int) -> None:
    spec: object = {}
    for _ in range(depth):
        spec = {"a": spec}
    with pytest.raises(MessageError):
        decode(a_push(spec))


def test_spec_of_reasonable_depth_can_be_sent_on() -> None:
    spec: dict[str, object] = {}
    for _ in range(30):
        spec = {"a": spec, "ü": ["x", 1.5, None]}
    header, body = decode(a_push(spec))
    assert decode(encode(header, body)) == (header, body)


def test_texts_for_people_are_cut_and_cleaned_so_that_they_do_not_cost_a_batch() -> None:
    bad = "\0" + "é" * 10_000
    condition = ConditionReport("Ready", "False", "NotFound", "no file \udcff" + bad)
    reports = (StatusReport("u1", 1, 1, None, None, (condition,)), a_report("u2"))
    _, update = decode(encode(Header("e", 1, reason=bad), StatusUpdate(reports)))
    assert isinstance(update, StatusUpdate)
    assert update.reports[1] == reports[1]
    message = update.reports[0].conditions[0].message
    assert message.startswith("no file ?\ufffdé")
    assert len(message) == codec.MAX_TEXT
    _, result = decode(encode(Header("e", 1), StatusResult((Verdict("u1", 1, 1, 400, bad),))))
    assert isinstance(result, StatusResult)


@settings(deadline=None)  # the machine is shared
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    try_to_read(payload)


@settings(deadline=None)  # the machine is shared
@given(JSON)
def test_any_json_is_read_or_refused(data: object) -> None:
    try_to_read(text(data))


@settings(deadline=None)  # the machine is shared
@given(mutated())
def test_valid_message_with_one_value_exchanged_is_read_or_refused(payload: bytes) -> None:
    try_to_read(payload)


@settings(deadline=None)  # the machine is shared
@given(st.sampled_from(BODIES), st.integers(0, 10_000), st.binary(max_size=3))
def test_valid_message_with_bytes_exchanged_is_read_or_refused(body: Body, place: int, patch: bytes) -> None:
    payload = encode(HEADER, body)
    place %= len(payload)
    try_to_read(payload[:place] + patch + payload[place + 1 :])


def try_to_read(payload: bytes) -> None:
    """Read a payload; what is accepted can be written, and reads the same again."""
    try:
        message = decode(payload)
    except MessageError:
        return
    assert decode(encode(*message)) == message


@settings(deadline=None)  # the machine is shared
@given(st.lists(st.text(max_size=50), max_size=60), st.integers(1, 300))
def test_batches_keep_order_and_limit(items: list[str], limit: int) -> None:
    cut = list(batches(items, limit))
    assert [item for batch in cut for item in batch] == items
    assert all(batch for batch in cut)
    assert all(len(batch) == 1 or sum(map(size, batch)) <= limit for batch in cut)


def test_full_batch_stays_below_what_is_read() -> None:
    items = [an_object(f"u{number}", url="/\U0001f600é" * 500) for number in range(200)]
    header = Header("é" * codec.MAX_TEXT, 1, reason="é" * codec.MAX_TEXT)
    for batch in batches(items):
        assert decode(encode(header, ObjectsResult(1, 1, batch, ())))
    assert len(list(batches(items))) > 2


def test_size_is_what_the_item_takes_on_the_wire() -> None:
    item: DesiredObject = an_object("u", url="/dätä")
    without = len(encode(HEADER, Updated((), ())))
    assert len(encode(HEADER, Updated((item,), ()))) - without == size(item)
