"""What programs on the node are told: documents, answers, and what is no question."""

from __future__ import annotations

import json
from typing import Any

import pytest

from neptune.edge.local import LocalView
from neptune.protocol.messages import ConditionReport, DesiredObject, StatusReport
from neptune.transport import Message, Received

PREFIX = "$hw/events"
TOPIC = f"{PREFIX}/dataset/default/a"


def item(*, uid: str = "u1", generation: int = 1, kind: str = "Dataset", name: str = "a") -> DesiredObject:
    return DesiredObject(kind, "default", name, uid, generation, {"url": "/data/a.txt"})


def report(samples: int, *, uid: str = "u1", seq: int = 1) -> StatusReport:
    return StatusReport(
        uid, seq, 1, samples, "2026-01-31T12:00:00Z", (ConditionReport("Ready", "True", "Counted", "m"),)
    )


def ask(view: LocalView, payload: bytes = b"", topic: str = TOPIC, **more: Any) -> dict[str, Any]:
    """Ask, and return the body of the answer."""
    question = Received(f"{topic}/get", payload, retained=False, connection=1)
    message = view.answer(question, 7, **{"alone": True, **more})
    assert message is not None
    assert message.topic == f"{topic}/get/result"
    return body(message)


def body(message: Message | None) -> dict[str, Any]:
    assert message is not None
    assert not message.retain
    found: dict[str, Any] = json.loads(message.payload)
    return found


@pytest.fixture
def view() -> LocalView:
    view = LocalView(PREFIX)
    view.load([item()], [report(3)])
    return view


def test_an_answer_echoes_the_event_id_and_holds_the_object_as_kubernetes_spells_it(view: LocalView) -> None:
    assert ask(view, b'{"event_id":"mine"}') == {
        "event_id": "mine",
        "timestamp": 7,
        "dataset": {
            "namespace": "default",
            "name": "a",
            "uid": "u1",
            "generation": 1,
            "spec": {"url": "/data/a.txt"},
            "status": {
                "numberOfSamples": 3,
                "updateTime": "2026-01-31T12:00:00Z",
                "observedGeneration": 1,
                "conditions": [{"type": "Ready", "status": "True", "reason": "Counted", "message": "m"}],
            },
        },
    }


def test_a_question_without_a_body_gets_an_event_id_of_ours(view: LocalView) -> None:
    first, second = ask(view), ask(view, b" ")
    assert first["event_id"] != second["event_id"]
    assert first["dataset"] == second["dataset"]


@pytest.mark.parametrize(
    "payload",
    [b"{", b"[]", b'"x"', b'{"event_id":1}', b'{"event_id":"' + b"x" * 129 + b'"}', b"[" * 4000, b"\xff", b"x" * 5000],
)
def test_a_question_that_cannot_be_understood_is_told_so(view: LocalView, payload: bytes) -> None:
    assert ask(view, payload)["code"] == 400


def test_what_the_node_does_not_have_is_denied_only_where_it_is_alone(view: LocalView) -> None:
    other = f"{PREFIX}/dataset/default/other"
    assert ask(view, topic=other)["code"] == 404
    assert view.answer(Received(f"{other}/get", b"", retained=False, connection=1), 7, alone=False) is None
    assert ask(view, topic=TOPIC, alone=False)["dataset"]["name"] == "a"


def test_a_model_has_topics_and_a_document_of_its_own(view: LocalView) -> None:
    message = view.stored(item(uid="m", kind="Model"), 7)
    assert message is not None
    assert message.topic == f"{PREFIX}/model/default/a/updated"
    assert ask(view, topic=f"{PREFIX}/model/default/a")["model"]["uid"] == "m"
    assert ask(view)["dataset"]["uid"] == "u1"


def test_an_update_has_the_last_and_the_current_document(view: LocalView) -> None:
    told = body(view.reported(report(4), 8))["dataset"]
    assert (told["last"]["status"]["numberOfSamples"], told["current"]["status"]["numberOfSamples"]) == (3, 4)
    told = body(view.stored(item(generation=2), 9))["dataset"]
    assert (told["last"]["generation"], told["current"]["generation"]) == (1, 2)
    told = body(view.forgotten("u1", 10))["dataset"]
    assert (told["last"]["generation"], told["current"]) == (2, None)
    told = body(view.stored(item(uid="u2"), 11))["dataset"]
    assert (told["last"], told["current"]["uid"]) == (None, "u2")


def test_a_status_that_says_the_same_again_is_no_update(view: LocalView) -> None:
    assert view.reported(report(3, seq=9), 8) is None


def test_an_object_of_the_same_name_outlives_its_predecessor(view: LocalView) -> None:
    view.stored(item(uid="u2"), 8)
    assert view.forgotten("u1", 9) is None
    assert ask(view)["dataset"]["uid"] == "u2"


def test_what_is_unknown_changes_nothing(view: LocalView) -> None:
    assert view.forgotten("nobody", 8) is None
    assert view.reported(report(1, uid="nobody"), 8) is None


@pytest.mark.parametrize("strange", [item(name="a/b"), item(name="+"), item(kind="Secret"), item(name="")])
def test_what_cannot_have_a_topic_has_none(strange: DesiredObject) -> None:
    view = LocalView(PREFIX)
    view.load([strange], [report(1)])
    assert view.stored(strange, 8) is None
    assert view.reported(report(1), 8) is None
    assert view.forgotten("u1", 8) is None


@pytest.mark.parametrize("topic", [TOPIC, f"{TOPIC}/get/result", f"{TOPIC}/updated", f"{PREFIX}/secret/default/a/get"])
def test_only_questions_are_answered(view: LocalView, topic: str) -> None:
    assert view.answer(Received(topic, b"", retained=False, connection=1), 7, alone=True) is None


def test_a_retained_question_is_not_answered(view: LocalView) -> None:
    assert view.answer(Received(f"{TOPIC}/get", b"", retained=True, connection=1), 7, alone=True) is None
