"""The custom resource of the API server's contract tests: a Dataset with something of everything."""

from __future__ import annotations

from typing import Any

GROUP = "contract.neptune.io"
API_VERSION = f"{GROUP}/v1alpha1"

_CONDITIONS: dict[str, Any] = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
    "items": {
        "type": "object",
        "required": ["type", "status"],
        "properties": {"type": {"type": "string"}, "status": {"type": "string"}, "reason": {"type": "string"}},
    },
}
_SPEC: dict[str, Any] = {
    "type": "object",
    "description": "What is wanted.",
    "required": ["url", "format"],
    "properties": {
        "url": {"type": "string", "maxLength": 20, "minLength": 2, "pattern": "^/", "description": "Where it is."},
        "format": {"type": "string", "enum": ["csv", "txt"]},
        "nodeName": {"type": "string"},
        "copies": {"type": "integer", "default": 1, "minimum": 0, "maximum": 9},
        "share": {"type": "number"},
        "since": {"type": "string", "format": "date-time"},
        "tags": {"type": "array", "maxItems": 2, "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "note": {"type": "string", "nullable": True},
        "port": {"x-kubernetes-int-or-string": True},
        "options": {"type": "object", "additionalProperties": {"type": "string"}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "split": {
            "type": "object",
            "properties": {"train": {"type": "integer", "default": 8}, "eval": {"type": "integer"}},
        },
    },
}
_STATUS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "numberOfSamples": {"type": "integer"},
        "updateTime": {"type": "string", "format": "date-time"},
        "conditions": _CONDITIONS,
    },
}
COLUMNS = [
    {"name": "NumberOfSamples", "type": "integer", "jsonPath": ".status.numberOfSamples"},
    {"name": "Node", "type": "string", "description": "Its node.", "jsonPath": ".spec.nodeName"},
    {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
    {"name": "Updated", "type": "date", "jsonPath": ".status.updateTime"},
    {"name": "Share", "type": "number", "jsonPath": ".spec.share"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {"name": "Spec", "type": "string", "jsonPath": ".spec", "priority": 1},
]
CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"datasets.{GROUP}"},
    "spec": {
        "group": GROUP,
        "names": {"kind": "Dataset", "plural": "datasets", "shortNames": ["cdset"], "categories": ["contract"]},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "selectableFields": [{"jsonPath": ".spec.nodeName"}],
                "additionalPrinterColumns": COLUMNS,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "description": "Data on a node.",
                        "required": ["spec"],
                        "properties": {"spec": _SPEC, "status": _STATUS},
                    }
                },
            }
        ],
    },
}


def dataset(name: str = "a", /, **spec: Any) -> dict[str, Any]:
    """Return a valid Dataset; `spec` adds to it, a None takes away."""
    wanted = {"url": "/data/a", "format": "txt", **spec}
    kept = {field: value for field, value in wanted.items() if value is not None}
    return {"apiVersion": API_VERSION, "kind": "Dataset", "metadata": {"name": name}, "spec": kept}
