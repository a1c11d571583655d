"""The queue between paho's thread and the event loop."""

from __future__ import annotations

import threading

from neptune.transport import Received
from neptune.transport._arrivals import Arrivals


def message(number: int, size: int = 1) -> Received:
    return Received(str(number), b"x" * size, retained=False, connection=1)


def topics(arrivals: Arrivals) -> list[str]:
    found = []
    while (taken := arrivals.take()) is not None:
        found.append(taken.topic)
    return found


def test_the_oldest_gives_way_to_the_number_and_is_counted() -> None:
    arrivals = Arrivals(limit=3, limit_bytes=1000)
    for number in range(5):
        arrivals.put(message(number))
    assert arrivals.dropped == 2
    assert topics(arrivals) == ["2", "3", "4"]


def test_the_oldest_gives_way_to_the_bytes_and_room_comes_back() -> None:
    arrivals = Arrivals(limit=100, limit_bytes=1000)
    for number in range(10):
        arrivals.put(message(number, 400))
    assert arrivals.dropped == 8
    assert topics(arrivals) == ["8", "9"]
    for number in range(2):
        arrivals.put(message(number, 400))
    assert arrivals.dropped == 8
    assert topics(arrivals) == ["0", "1"]


def test_two_threads_lose_count_of_nothing() -> None:
    arrivals, total = Arrivals(limit=50, limit_bytes=3000), 20_000

    def put() -> None:
        for number in range(total):
            arrivals.put(message(number, number % 100))

    writer = threading.Thread(target=put)
    writer.start()
    taken = []
    while writer.is_alive():
        taken += topics(arrivals)
    writer.join()
    taken += topics(arrivals)
    assert len(taken) + arrivals.dropped == total
    assert taken == sorted(taken, key=int)
    arrivals.put(message(0, 3000))  # all of the room is back
    assert topics(arrivals) == ["0"]
