"""Messages on their way from a network thread to the event loop. Bounded in number and bytes.

Invariant: one thread puts and one takes, and each writes counters of its own, so that no lock is needed: what CPython's
deque does to one item is atomic. What does not fit pushes out the oldest, counted.
Neighbours: `_paho` is both sides; `inbox` is the queue behind this one.
"""

from __future__ import annotations

from collections import deque

from neptune.transport.base import Received


class Arrivals:
    """A queue between two threads."""

    def __init__(self, *, limit: int, limit_bytes: int) -> None:
        """Create an empty queue that holds `limit` messages and `limit_bytes` of payload at most."""
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._messages: deque[Received] = deque()
        self._bytes_put = 0
        self._bytes_taken = 0
        self.dropped = 0
        """Messages that gave way."""

    def put(self, message: Received) -> None:
        """Append a message. On the network thread."""
        self._messages.append(message)
        self._bytes_put += len(message.payload)
        while len(self._messages) > self._limit or self._bytes_put - self._bytes_taken > self._limit_bytes:
            try:
                oldest = self._messages.popleft()
            except IndexError:  # the other thread was quicker
                return
            self._bytes_put -= len(oldest.payload)
            self.dropped += 1

    def take(self) -> Received | None:
        """Remove and return the oldest message, or None. On the event loop."""
        try:
            message = self._messages.popleft()
        except IndexError:
            return None
        self._bytes_taken += len(message.payload)
        return message
