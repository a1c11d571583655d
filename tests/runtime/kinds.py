"""Kinds of the core that tests create beside Datasets, with the few fields that they look at."""

from __future__ import annotations

from neptune.api import Dataset, DatasetSpec, ObjectMeta
from neptune.api.core import ConfigMap


def config_map(namespace: str, name: str, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(namespace=namespace, name=name), data=data)


def dataset(namespace: str, name: str) -> Dataset:
    spec = DatasetSpec(url="/data/a", format="txt", node_name="edge0")
    return Dataset(metadata=ObjectMeta(namespace=namespace, name=name), spec=spec)
