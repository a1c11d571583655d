"""The storm on kopf, run with `kopf run --all-namespaces`; it writes statuses by merge patch, as it does by itself."""

from __future__ import annotations

from typing import Any

import kopf

WORKERS = 32


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.enabled = False
    settings.batching.worker_limit = WORKERS
    # Handlers on events keep no progress in the object: the least that kopf can be made to do.
    settings.persistence.finalizer = "storm.neptune.io/kopf"


@kopf.on.event("neptune.io", "v1alpha1", "datasets")
async def reconcile(spec: Any, status: Any, patch: kopf.Patch, **_: Any) -> None:
    wanted = len(spec["url"])
    if status.get("numberOfSamples") != wanted:
        patch.status["numberOfSamples"] = wanted
