"""What both ends of the link may want done; each adds actions of its own."""

from __future__ import annotations

from dataclasses import dataclass

from neptune.transport import Message

#: Desired state, statuses and verdicts older than this are of no use; a broker that knows MQTT 5 drops them (seconds).
EXPIRY_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Publish:
    """Hand this to the transport."""

    message: Message
