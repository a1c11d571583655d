"""Messages of every type, and what becomes of them when one value is exchanged."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from neptune.protocol.codec import encode
from neptune.protocol.messages import (
    Body,
    CloudPresence,
    ConditionReport,
    CredentialsResult,
    EntriesResult,
    Get,
    GetCredentials,
    GetEntries,
    GetObjects,
    GetResult,
    Header,
    ObjectsResult,
    Presence,
    StatusReport,
    StatusResult,
    StatusUpdate,
    Updated,
    Verdict,
    WorkReport,
)
from tests.protocol.samples import a_report, an_object

WORK = WorkReport("r-1", "Running", "2026-01-31T12:00:00Z", 40, 1200, {"loss": "0.3"}, "round 2 of 5")
BODIES: list[Body] = [
    Presence(online=True, connection=3, agent="0.1.0"),
    CloudPresence(online=False),
    Get("r", "s"),
    GetResult("r", "b", "s"),
    GetEntries((0, 255), (7,)),
    EntriesResult(1, 2, {"u1": "e"}, {"u2": "f"}),
    GetObjects(("u1", "u2")),
    ObjectsResult(1, 2, (an_object("u1"), an_object("u2", 9, url="/dätä")), ("u3",)),
    ObjectsResult(1, 1, (), (), complete=True, root="r", status_entries={"u1": "e"}),
    Updated((an_object("u1"),), ("u2", "u3")),
    StatusUpdate((a_report("u1", 0), a_report("u2", None),)),
    StatusUpdate((StatusReport("u", 1, 2, 3, None, (ConditionReport("Ready", "True", "Counted", "3 samples"),)),)),
    StatusUpdate((StatusReport("u", 1, 2, None, None, (), work=WORK),)),
    StatusResult((Verdict("u1", 7, 4, 409, "is at generation 2"),)),
    GetCredentials("u1", encrypted=True),
    CredentialsResult("u1", {"token": "t"}),
]  # fmt: skip
HEADER = Header(
    "edge0-1-2", 1_700_000_000_000, cloud_epoch=5, node_epoch=6, seq=7, code=503, reason="ask again", cluster="k"
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Return a message that was valid before one value, anywhere in it, became something else."""
    envelope = json.loads(encode(HEADER, draw(st.sampled_from(BODIES))))
    place: Any = envelope
    while True:
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not (isinstance(place[key], (dict, list)) and place[key]) or draw(st.booleans()):
            break
        place = place[key]
    place[key] = draw(JSON)
    return json.dumps(envelope).encode()
