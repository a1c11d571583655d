"""`Dataset`: data on a node, and how many samples it has. The proposal's Go types, field by field.

`spec` is the user's, `status` is written by the cloud controller from what the node's agent reports.
Neighbours: `conditions` holds the reasons' form; `controllers.dataset` writes the status.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from neptune.api.conditions import Condition
from neptune.api.crd import Column, CrdOptions
from neptune.api.markers import ListMap
from neptune.api.meta import KubeList, KubeModel, Resource, ResourceType, Time

#: Nodes and Secrets are named as Kubernetes names them: RFC 1123, section 2.1, in lower case. Empty for none.
SUBDOMAIN_PATTERN = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$"


class ConditionType(StrEnum):
    """The conditions of a Dataset."""

    READY = "Ready"
    SYNCED = "Synced"
    NODE_ONLINE = "NodeOnline"


class Reason(StrEnum):
    """Why a Dataset is as it is; what the Reason column of `kubectl get datasets` shows."""

    COUNTED = "Counted"
    COUNTING = "Counting"
    WAITING_FOR_NODE = "WaitingForNode"
    NO_NODE = "NoNode"
    NODE_OFFLINE = "NodeOffline"
    NODE_NEVER_SEEN = "NodeNeverSeen"
    NODE_ONLINE = "NodeOnline"
    STORED = "Stored"
    NOT_FOUND = "NotFound"
    NOT_A_FILE = "NotAFile"
    PERMISSION_DENIED = "PermissionDenied"
    OUTSIDE_ROOTS = "OutsideRoots"
    UNKNOWN_FORMAT = "UnknownFormat"
    BAD_URL = "BadUrl"
    READ_FAILED = "ReadFailed"
    TOO_LARGE = "TooLarge"
    DAMAGED = "Damaged"
    MISSING_LIBRARY = "MissingLibrary"
    COUNTING_FAILED = "CountingFailed"
    CREDENTIALS_FORBIDDEN = "CredentialsForbidden"
    CREDENTIALS_NOT_FOUND = "CredentialsNotFound"
    CREDENTIALS_INVALID = "CredentialsInvalid"
    CREDENTIALS_NEED_TLS = "CredentialsNeedTLS"
    CREDENTIALS_UNAVAILABLE = "CredentialsUnavailable"


class DatasetSpec(KubeModel):
    """What the user wants counted."""

    url: Annotated[
        str,
        Field(
            description="Where the data is: on the node an absolute path, or file:// and an absolute path. A directory "
            "or a pattern (*, ?, [...]) stands for the files in it. Or an object at http(s):// or s3://. Files may be "
            "compressed (.gz, .zst).",
            min_length=1,
            max_length=4096,
        ),
    ]
    format: Annotated[
        str,
        Field(
            description="How samples are told apart. txt: one nonempty line is one sample. csv: one record after "
            "the header (RFC 4180). jsonl: one line that is not blank. Others by plug-ins on the node.",
            min_length=1,
            max_length=63,
        ),
    ]
    node_name: Annotated[
        str,
        Field(
            description="The node that owns the data; its edge-agent counts the samples.",
            max_length=253,
            pattern=SUBDOMAIN_PATTERN,
        ),
    ] = ""
    credential_name: Annotated[
        str,
        Field(
            description="The Secret in this namespace that opens an s3:// or http(s):// url; empty for none. Its keys: "
            "for s3 accessKeyID and secretAccessKey, and where needed sessionToken, region and endpoint; for http(s) "
            "username and password, or token. They go to the node over TLS only, and are kept in its memory.",
            max_length=253,
            pattern=SUBDOMAIN_PATTERN,
        ),
    ] = ""


class DatasetStatus(KubeModel):
    """What the node reported last."""

    update_time: Annotated[
        Time | None, Field(description="When the number of samples last changed, by the node's clock.")
    ] = None
    number_of_samples: Annotated[
        int | None,
        Field(description="The number of samples in the dataset; absent until the node has counted.", ge=0),
    ] = None
    conditions: Annotated[
        list[Condition],
        Field(
            description="Ready is the summary: True while the number is right. Synced: the node stored this "
            "generation. NodeOnline: whether the node is connected.",
            max_length=16,
        ),
        ListMap("type"),
    ] = Field(default_factory=list)
    observed_generation: Annotated[
        int | None, Field(description="The metadata.generation that the status was reported for.", ge=0)
    ] = None
    revision: Annotated[
        int | None,
        Field(description="Grows by one whenever the number of samples or the fingerprint changes.", ge=0),
    ] = None
    fingerprint: Annotated[
        str | None,
        Field(
            description="Names the content that was counted: the same for the same content, on any node. "
            "Taken from the size and from blocks spread over the data.",
            max_length=64,
        ),
    ] = None


class Dataset(Resource):
    """Dataset describes data that an edge node owns; the node's agent counts its samples."""

    resource: ClassVar[ResourceType] = ResourceType("neptune.io", "v1alpha1", "Dataset", "datasets")
    crd: ClassVar[CrdOptions] = CrdOptions(
        short_names=("dset",),
        categories=("neptune",),
        selectable_fields=(".spec.nodeName",),
        columns=(
            Column(
                "NumberOfSamples",
                "integer",
                ".status.numberOfSamples",
                "The number of samples in the dataset",
            ),
            Column("Node", "string", ".spec.nodeName", "The node name of the dataset"),
            Column(
                "Ready",
                "string",
                '.status.conditions[?(@.type=="Ready")].status',
                "Whether the number is right",
            ),
            Column("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', "Why it is ready, or not"),
            Column("Updated", "date", ".status.updateTime", "Time since the number last changed"),
            Column("Age", "date", ".metadata.creationTimestamp", "Time since the dataset was created"),
            Column("Format", "string", ".spec.format", "How samples are told apart", priority=1),
            Column("Revision", "integer", ".status.revision", "How often the number has changed", priority=1),
            Column(
                "Message",
                "string",
                '.status.conditions[?(@.type=="Ready")].message',
                "Why, for a person, with what to do about it",
                priority=1,
            ),
            Column("spec", "string", ".spec", "The spec of the dataset", priority=1),
        ),
    )

    spec: Annotated[DatasetSpec, Field(description="What is to be counted, and where.")]
    status: Annotated[
        DatasetStatus, Field(description="What the node reported last; written by the cloud controller.")
    ] = Field(default_factory=DatasetStatus)


class DatasetList(KubeList):
    """A list of Datasets."""

    items: list[Dataset] = Field(default_factory=list)
