"""Reports of nodes, on their way from the link to whoever writes them, and the verdicts that go back.

Invariant: every report that is not replaced by a newer one of its node gets one verdict.
Neighbours: `dataset.upstream` and `tasks.reconciler` write them; `link` carries both.
"""

from __future__ import annotations

from dataclasses import dataclass

from neptune.controllers.link import Link
from neptune.log import get_logger
from neptune.protocol import messages
from neptune.protocol.messages import StatusReport, Verdict

log = get_logger()


@dataclass(frozen=True, slots=True)
class Report:
    """A report as it arrived: `node` is who the topic says it is from."""

    node: str
    epoch: int
    status: StatusReport

    def is_older(self, other: Report) -> bool:
        """Tell whether the same node said `other`, of the same object, after this."""
        same = (self.node, self.status.uid) == (other.node, other.status.uid)
        return same and (self.epoch, self.status.seq) < (other.epoch, other.status.seq)


def settle(link: Link, report: Report, code: int, reason: str = "") -> None:
    """Tell the node what became of its report; the first refusal of a kind is logged, for a node can say much."""
    if code != messages.OK and link.core.is_first(report.node, f"report refused {code}"):
        log.info("report refused", node=report.node, uid=report.status.uid, code=code, reason=reason)
    link.settle(report.node, Verdict(report.status.uid, report.epoch, report.status.seq, code, reason))
