"""Access rules: what is not allowed is denied, and a name cannot widen a pattern."""

from __future__ import annotations

import pytest

from neptune.transport.acl import Rule, authorize_by
from neptune.transport.broker_types import Action, Peer

NODE = "$hw/events/node"
AUTHORIZE = authorize_by(
    [
        Rule("write", f"{NODE}/%u/neptune/status/update"),
        Rule("read", f"{NODE}/%u/neptune/updated"),
        Rule("readwrite", f"{NODE}/+/neptune/#", username="cloud"),
        Rule("readwrite", "clients/%c/#"),
    ]
)
EDGE0 = Peer("edge0-client", "edge0")


@pytest.mark.parametrize(
    ("action", "topic", "allowed"),
    [
        (Action.WRITE, f"{NODE}/edge0/neptune/status/update", True),
        (Action.READ, f"{NODE}/edge0/neptune/status/update", False),
        (Action.READ, f"{NODE}/edge0/neptune/updated", True),
        (Action.SUBSCRIBE, f"{NODE}/edge0/neptune/updated", True),
        (Action.SUBSCRIBE, f"{NODE}/+/neptune/updated", False),
        (Action.SUBSCRIBE, "#", False),
        (Action.WRITE, f"{NODE}/edge1/neptune/status/update", False),
        (Action.WRITE, "clients/edge0-client/log", True),
        (Action.WRITE, "clients/other/log", False),
    ],
)
def test_a_node_may_do_its_own_things_only(action: Action, topic: str, allowed: bool) -> None:
    assert AUTHORIZE(EDGE0, action, topic) is allowed


def test_a_rule_for_one_user_is_for_nobody_else() -> None:
    assert AUTHORIZE(Peer("c", "cloud"), Action.SUBSCRIBE, f"{NODE}/+/neptune/get")
    assert not AUTHORIZE(Peer("cloud", None), Action.SUBSCRIBE, f"{NODE}/+/neptune/get")


@pytest.mark.parametrize("name", ["+", "#", "edge0/neptune", "", None])
def test_a_name_that_is_a_pattern_itself_is_nobody(name: str | None) -> None:
    assert not AUTHORIZE(Peer("", name), Action.WRITE, f"{NODE}/edge0/neptune/status/update")
    assert not AUTHORIZE(Peer("", name), Action.SUBSCRIBE, f"{NODE}/{name}/neptune/updated")
