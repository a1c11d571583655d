"""A whole controller: it writes the length of each Dataset's url into its status."""

from neptune.api import Dataset
from neptune.runtime import Manager


async def reconcile(ctx, key):
    dataset = ctx.cache.get(Dataset, key)  # a private copy, or None when it is gone
    if dataset and dataset.status.number_of_samples != len(dataset.spec.url):
        dataset.status.number_of_samples = len(dataset.spec.url)
        await ctx.client.status.patch(dataset)  # sends what changed; nothing when nothing did


manager = Manager()
manager.controller(Dataset, reconcile, workers=8)
if __name__ == "__main__":
    manager.run()
