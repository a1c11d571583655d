"""Typed Kubernetes objects: `Dataset`, `Model` and `FederatedTask`, and what is needed to define more."""

from neptune.api.conditions import Condition, get_condition, set_condition
from neptune.api.crd import Column, CrdOptions, crd_for
from neptune.api.dataset import ConditionType, Dataset, DatasetList, DatasetSpec, DatasetStatus, Reason
from neptune.api.federatedtask import (
    Aggregator,
    FederatedTask,
    FederatedTaskList,
    FederatedTaskSpec,
    FederatedTaskStatus,
    ModelReference,
    Participant,
    Share,
    TaskConditionType,
    TaskReason,
)
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
    "Aggregator",
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
    "FederatedTask",
    "FederatedTaskList",
    "FederatedTaskSpec",
    "FederatedTaskStatus",
    "IntOrString",
    "KubeModel",
    "ListMap",
    "ListMeta",
    "ListSet",
    "Metric",
    "MicroTime",
    "Model",
    "ModelList",
    "ModelReference",
    "ModelSpec",
    "ModelStatus",
    "NotStructural",
    "ObjectMeta",
    "OwnerReference",
    "PartialObjectMetadata",
    "Participant",
    "Quantity",
    "Reason",
    "Resource",
    "ResourceKey",
    "ResourceList",
    "ResourceType",
    "Share",
    "TaskConditionType",
    "TaskReason",
    "Time",
    "Unstructured",
    "crd_for",
    "get_condition",
    "set_condition",
]
