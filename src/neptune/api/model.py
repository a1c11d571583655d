"""`Model`: a trained model, and its metrics. The proposal's Go types, field by field.

There is no controller for a Model by itself: its information travels with the federated task that uses it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from neptune.api.conditions import Condition
from neptune.api.crd import Column, CrdOptions
from neptune.api.markers import ListMap
from neptune.api.meta import KubeList, KubeModel, Resource, ResourceType, Time


class Metric(KubeModel):
    """One measurement of a model, as strings: a Kubernetes API carries no floats."""

    key: Annotated[str, Field(description="What was measured, such as accuracy.", min_length=1, max_length=253)]
    value: Annotated[str, Field(description="The value, as text.", max_length=1024)]


class ModelSpec(KubeModel):
    """Where the model is and how it is stored."""

    url: Annotated[str, Field(description="Where the model is stored.", min_length=1, max_length=4096)]
    format: Annotated[
        str, Field(description="The format of the model, such as pb or ckpt.", min_length=1, max_length=63)
    ]


class ModelStatus(KubeModel):
    """What the last completed work reported."""

    update_time: Annotated[Time | None, Field(description="When the metrics were last written.")] = None
    metrics: Annotated[
        list[Metric],
        Field(description="The metrics of the last completed work, sorted by key.", max_length=256),
    ] = Field(default_factory=list)
    conditions: Annotated[
        list[Condition],
        Field(description="Ready is True once work has reported metrics.", max_length=16),
        ListMap("type"),
    ] = Field(default_factory=list)
    observed_generation: Annotated[
        int | None, Field(description="The metadata.generation that the status was reported for.", ge=0)
    ] = None


class Model(Resource):
    """Model describes a model that edge AI work trains or uses."""

    resource: ClassVar[ResourceType] = ResourceType("neptune.io", "v1alpha1", "Model", "models")
    crd: ClassVar[CrdOptions] = CrdOptions(
        short_names=("mdl",),
        categories=("neptune",),
        columns=(
            Column("updateAGE", "date", ".status.updateTime", "The update age"),
            Column("metrics", "string", ".status.metrics", "The metrics"),
            Column(
                "Ready",
                "string",
                '.status.conditions[?(@.type=="Ready")].status',
                "Whether work has reported metrics",
            ),
            Column("Age", "date", ".metadata.creationTimestamp", "Time since the model was created"),
        ),
    )

    spec: Annotated[ModelSpec, Field(description="Where the model is, and in which format.")]
    status: Annotated[ModelStatus, Field(description="What the last completed work reported.")] = Field(
        default_factory=ModelStatus
    )


class ModelList(KubeList):
    """A list of Models."""

    items: list[Model] = Field(default_factory=list)
