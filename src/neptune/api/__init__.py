"""Typed Kubernetes objects: the proposal's `Dataset` and `Model`, and what is needed to define more."""

from neptune.api.conditions import Condition, get_condition, set_condition
from neptune.api.crd import Column, CrdOptions, crd_for
from neptune.api.dataset import ConditionType, Dataset, DatasetList, DatasetSpec, DatasetStatus, Reason
from neptune.api.markers import Atomic, Cel, ListMap, ListSet
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
from neptune.api.scalars import Duration, IntOrString, Quantity
from neptune.api.schema import NotStructural
from neptune.api.unstructured import PartialObjectMetadata, Unstructured

__all__ = [
    "Atomic",
    "Cel",
    "Column",
    "Condition",
    "ConditionType",
    "CrdOptions",
    "Dataset",
    "DatasetList",
    "DatasetSpec",
    "DatasetStatus",
    "Duration",
    "IntOrString",
    "KubeModel",
    "ListMap",
    "ListMeta",
    "ListSet",
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
    "Quantity",
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
