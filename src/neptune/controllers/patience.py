"""How long the cloud waits for a broker or a node before it does something about it: for Datasets as for tasks.

Neighbours: `link` knows since when it is connected; `dataset.downstream` and `tasks.reconciler` wait.
"""

from __future__ import annotations

from neptune.protocol.backoff import Pace

#: A broker tells sooner than this which nodes are there (seconds); writing of their absence before would only double
#: the writes.
PATIENCE_SECONDS = 0.25
#: How long to wait for a node's answer before pushing again (seconds): first, and at most.
REPUSH_BASE_SECONDS, REPUSH_MAX_SECONDS = 5.0, 60.0
#: How long what this controller wrote of a node is left as another one wrote it then (seconds): first, and at most.
SAY_BASE_SECONDS, SAY_MAX_SECONDS = 1.0, 60.0
#: How often to look whether the broker is back, for what depends on a node that is not known to be online (seconds).
BLIND_SECONDS = 5.0


def repush_pause(times: int) -> float:
    """Return the seconds to wait for an answer after a push that `times` others of the same came before."""
    return min(REPUSH_MAX_SECONDS, REPUSH_BASE_SECONDS * 2.0 ** min(times, 8))


def says() -> Pace:
    """Return the pace at which the same may be written again: two controllers may see one node otherwise."""
    return Pace(SAY_BASE_SECONDS, SAY_MAX_SECONDS)
