"""Upstream: what a node counted reaches the Dataset's status.

Invariants: a node writes only the status of Datasets that name it, and a verdict goes back only after the API server
has taken the write, or for good refused it. Neighbours: `link` hands reports in and verdicts out; a `Mailbox` holds
the newest report of each Dataset until it is written.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import TypeAdapter, ValidationError

from neptune.api import Dataset, ResourceKey, Time
from neptune.clock import Clock
from neptune.controllers.dataset import status
from neptune.controllers.link import Link
from neptune.controllers.reports import Report, settle
from neptune.protocol import messages
from neptune.protocol.cloud import Reported
from neptune.protocol.messages import StatusReport
from neptune.runtime import Cache, Context, Mailbox
from neptune.runtime.errors import Invalid, NotFound

UID_INDEX = "uid"
NODE_INDEX = "node"

_time: TypeAdapter[datetime] = TypeAdapter(Time)


class Upstream:
    """The reconciler and its mailbox."""

    def __init__(self, link: Link, cache: Cache, clock: Clock) -> None:
        self.mailbox: Mailbox[Report] = Mailbox()
        #: The newest report taken of each Dataset, so that one which was overtaken on its way undoes nothing.
        self._newest: dict[ResourceKey, Report] = {}
        self._link = link
        self._cache = cache
        self._clock = clock

    def take(self, reported: Reported) -> None:
        """Sort the reports of one message: to the mailbox, or straight back with a verdict."""
        for item in reported.reports:
            report = Report(reported.node, reported.epoch, item)
            dataset = find(self._cache, item.uid)
            code, reason = _objection(report, dataset)
            if code != messages.OK or dataset is None:
                settle(self._link, report, code, reason)
                continue
            newest = self._newest.get(dataset.key)
            # An older one gets no verdict: that on the newer one settles both.
            if (newest is None or not report.is_older(newest)) and self.mailbox.put(dataset.key, report):
                self._newest[dataset.key] = report

    async def reconcile(self, ctx: Context, key: ResourceKey) -> None:
        """Write the newest report of a Dataset, then tell the node."""
        dataset = ctx.cache.get(Dataset, key)
        if dataset is None:
            self._newest.pop(key, None)
        report = self.mailbox.peek(key)
        if report is None:
            return
        if dataset is not None and dataset.metadata.uid != report.status.uid:
            dataset = None
        code, reason = _objection(report, dataset)
        if code == messages.OK and dataset is not None:
            code, reason = await self._write(ctx, dataset, report.status)
        self.mailbox.discard(key, report)
        settle(self._link, report, code, reason)

    async def _write(self, ctx: Context, dataset: Dataset, report: StatusReport) -> tuple[int, str]:
        try:
            update_time = None if report.update_time is None else _time.validate_python(report.update_time)
            status.show_report(dataset, report, update_time, self._clock.now())
        except ValidationError as error:
            return messages.BAD_REQUEST, f"the status is not usable: {error.errors()[0]['msg']}"
        except OverflowError:
            return messages.BAD_REQUEST, f"the status is not usable: no such time in UTC, {report.update_time}"
        try:
            await ctx.client.status.patch(dataset)
        except NotFound:
            return messages.NOT_FOUND, "the dataset is gone"
        except Invalid as error:
            return messages.BAD_REQUEST, str(error)
        return messages.OK, ""


def find(cache: Cache, uid: str) -> Dataset | None:
    """Return the Dataset with that uid, or None."""
    return next(iter(cache.list(Dataset, index=UID_INDEX, value=uid)), None)


def _objection(report: Report, dataset: Dataset | None) -> tuple[int, str]:
    """Return why a report cannot be written, or OK."""
    if dataset is None:
        return messages.NOT_FOUND, "no dataset has this uid"
    if dataset.spec.node_name != report.node:
        return messages.FORBIDDEN, f"dataset {dataset.key} is not of node {report.node}"
    if report.status.observed_generation != dataset.metadata.generation:
        return messages.CONFLICT, f"dataset {dataset.key} is at generation {dataset.metadata.generation}"
    return messages.OK, ""
