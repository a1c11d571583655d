"""A reconcile function that is a plain `def`: it runs in a thread, where blocking is fine; `ctx.wait` awaits for it."""

from neptune.api import Dataset
from neptune.runtime import Manager


def reconcile(ctx, key):
    dataset = ctx.cache.get(Dataset, key)
    if dataset and dataset.status.number_of_samples != len(dataset.spec.url):
        dataset.status.number_of_samples = len(dataset.spec.url)
        ctx.wait(ctx.client.status.patch(dataset))


manager = Manager()
manager.controller(Dataset, reconcile, workers=2)
if __name__ == "__main__":
    manager.run()
