"""The trivial reconciler of the storm, on neptune: a status is the length of the url, written only when it differs."""

from __future__ import annotations

from neptune.api import Dataset, ResourceKey
from neptune.runtime import Context, Manager

WORKERS = 32


async def reconcile(ctx: Context, key: ResourceKey) -> None:
    dataset = ctx.cache.get(Dataset, key)
    if dataset and dataset.status.number_of_samples != len(dataset.spec.url):
        dataset.status.number_of_samples = len(dataset.spec.url)
        await ctx.client.status.patch(dataset)


if __name__ == "__main__":
    manager = Manager()
    manager.controller(Dataset, reconcile, workers=WORKERS)
    manager.run()
