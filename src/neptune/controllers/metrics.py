"""What the cloud controller tells Prometheus of its link to the nodes, besides what `runtime.metrics` tells of any.

Invariant: every series exists from the start, at 0. Read at each scrape: the link counts in plain numbers, and its
nodes are many, so that none has a series of its own. Neighbours: `link` counts, `app` makes it a source.
Names as https://prometheus.io/docs/practices/naming/ has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from neptune.controllers.link import Link
from neptune.protocol import messages
from neptune.protocol.presence import NodeState
from neptune.runtime.tallies import Counters, Family, Levels
from neptune.transport import Published

#: The codes of verdicts that `dataset.upstream` gives.
_CODES = (messages.OK, messages.BAD_REQUEST, messages.FORBIDDEN, messages.NOT_FOUND, messages.CONFLICT)


def of_link(link: Link) -> Iterator[Family[Any]]:
    """Yield the series of a link, as they are now."""
    connected = Levels("neptune_link_connected", "1 while there is a connection to the broker")
    connected.labels().set(link.is_connected)
    nodes = Levels("neptune_nodes", "Nodes by state, as last known", ("state",))
    tally = link.core.presence.tally(link.core.inventory.nodes)
    for state in NodeState:
        nodes.labels(_label(state.value)).set(tally[state])
    dropped = Counters("neptune_link_dropped_messages", "Messages of nodes that nobody heeded", ("cause",))
    dropped.labels("unusable").inc(link.core.dropped)
    dropped.labels("unread").inc(link.unread)
    reports = Counters("neptune_link_reports", "Reports of nodes, by verdict", ("code",))
    for code in sorted({*_CODES, *link.verdicts}):
        reports.labels(str(code)).inc(link.verdicts[code])
    publishes = Counters("neptune_link_publishes", "Messages to nodes, by what the broker said", ("outcome",))
    for outcome in Published:
        publishes.labels(_label(outcome.value)).inc(link.publishes[outcome])
    yield from (connected, nodes, dropped, reports, publishes)


def _label(words: str) -> str:
    return words.replace(" ", "_")
