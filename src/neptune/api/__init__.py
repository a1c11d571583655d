"""Typed Kubernetes objects: the proposal's `Dataset` and `Model`, and what is needed to define more."""

from neptune.api.conditions import Condition, get_condition, set_condition
from neptune.api.crd import Column, CrdOptions, ListMap, NotStructural, crd_for
from neptune.api.dataset import ConditionType, Dataset, DatasetList, DatasetSpec, DatasetStatus, Reason
from neptune.api.meta import (
    KubeModel,
    ListMeta,
    MicroTime,
    ObjectMeta,
    OwnerReference,
    Resource,
    ResourceKey,
    ResourceList,
    ResourceType,
    Time,
)
from neptune.api.model import Metric, Model, ModelList, ModelSpec, ModelStatus
from neptune.api.unstructured import PartialObjectMetadata, Unstructured

__all__ = [
    "Column",
    "Condition",
    "ConditionType",
    "CrdOptions",
    "Dataset",
    "DatasetList",
    "DatasetSpec",
    "DatasetStatus",
    "KubeModel",
    "ListMap",
    "ListMeta",
    "Metric",
    "MicroTime",
    "Model",
    "ModelList",
    "ModelSpec",
    "ModelStatus",
    "NotStructural",
    "ObjectMeta",
    "OwnerReference",
    "PartialObjectMetadata",
    "Reason",
    "Resource",
    "ResourceKey",
    "ResourceList",
    "ResourceType",
    "Time",
    "Unstructured",
    "crd_for",
    "get_condition",
    "set_condition",
]
