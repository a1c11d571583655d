"""Bytes on topics between named peers. Adapters are imported by full path: `transport.mqtt`, `transport.memory`."""

from neptune.transport.base import (
    Connected,
    Disconnected,
    Event,
    Message,
    Published,
    Received,
    Session,
    Transport,
    TransportClosed,
    TransportError,
)

__all__ = [
    "Connected",
    "Disconnected",
    "Event",
    "Message",
    "Published",
    "Received",
    "Session",
    "Transport",
    "TransportClosed",
    "TransportError",
]
