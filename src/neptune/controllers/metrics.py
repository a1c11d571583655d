"""What the cloud controller tells Prometheus of its link to the nodes, besides what `runtime.metrics` tells of any.

Invariant: every series exists from the start, at 0. Read at each scrape: the link counts in plain numbers, and its
nodes are many, so that none has a series of its own. Neighbours: `link` counts, `app` registers this.
Names as https://prometheus.io/docs/practices/naming/ has them.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from neptune.controllers.link import Link
from neptune.protocol import messages
from neptune.protocol.presence import NodeState
from neptune.transport import Published

#: The codes of verdicts that `dataset.upstream` gives.
_CODES = (messages.OK, messages.BAD_REQUEST, messages.FORBIDDEN, messages.NOT_FOUND, messages.CONFLICT)


class LinkMetrics(Collector):
    """The series of one link."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def collect(self) -> Iterator[Metric]:
        """Yield what holds now; called by the registry."""
        link = self._link
        yield GaugeMetricFamily(
            "neptune_link_connected", "1 while there is a connection to the broker", float(link.is_connected)
        )
        nodes = GaugeMetricFamily("neptune_nodes", "Nodes by state, as last known", labels=["state"])
        tally = link.core.presence.tally(link.core.inventory.nodes)
        for state in NodeState:
            nodes.add_metric([_label(state.value)], tally[state])
        yield nodes
        dropped = CounterMetricFamily(
            "neptune_link_dropped_messages", "Messages of nodes that nobody heeded", labels=["cause"]
        )
        dropped.add_metric(["unusable"], link.core.dropped)
        dropped.add_metric(["unread"], link.unread)
        yield dropped
        reports = CounterMetricFamily("neptune_link_reports", "Reports of nodes, by verdict", labels=["code"])
        for code in sorted({*_CODES, *link.verdicts}):
            reports.add_metric([str(code)], link.verdicts[code])
        yield reports
        publishes = CounterMetricFamily(
            "neptune_link_publishes", "Messages to nodes, by what the broker said", labels=["outcome"]
        )
        for outcome in Published:
            publishes.add_metric([_label(outcome.value)], link.publishes[outcome])
        yield publishes


def _label(words: str) -> str:
    return words.replace(" ", "_")
