"""What clients ask before they ask for objects: versions, groups, resources and OpenAPI v3. Pure.

Legacy (unaggregated) discovery: kubectl falls back to it by the content type of the answer. Each OpenAPI PATCH has a
`fieldValidation` parameter, by which kubectl decides to leave the validation of manifests to the server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from neptune.embedded.apiserver.builtin import CRDS
from neptune.embedded.apiserver.catalog import Catalog
from neptune.embedded.apiserver.objects import Object
from neptune.embedded.apiserver.patch import APPLY, JSON, MERGE, STRATEGIC
from neptune.embedded.apiserver.resources import ResourceType
from neptune.embedded.apiserver.schema import METADATA

VERSION: Object = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0+neptune",  # whose behaviour is imitated; kubectl compares it with its own version
    "platform": "embedded",
}
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_TEXTS = {
    "apiVersion": "APIVersion defines the versioned schema of this representation of an object.",
    "kind": "Kind is a string value representing the REST resource this object represents.",
    "metadata": "Standard object's metadata.",
}


def document(catalog: Catalog, path: str) -> Object | None:
    """Return the discovery document at a path, or None when there is none."""
    found: Object | None = None
    match path.strip("/").split("/"):
        case ["version"]:
            found = VERSION
        case ["api"]:
            found = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["apis"]:
            found = {"kind": "APIGroupList", "apiVersion": "v1", "groups": _groups(catalog)}
        case ["apis", group]:
            head = {"kind": "APIGroup", "apiVersion": "v1"}
            found = next(({**head, **each} for each in _groups(catalog) if each["name"] == group), None)
        case ["api", version]:
            found = _resource_list(_of(catalog, "", version))
        case ["apis", group, version]:
            found = _resource_list(_of(catalog, group, version))
        case ["openapi", "v3"]:
            found = _openapi_index(catalog)
        case ["openapi", "v3", "api", version]:
            found = _openapi(_of(catalog, "", version))
        case ["openapi", "v3", "apis", group, version]:
            found = _openapi(_of(catalog, group, version))
    return found


def version_priority(version: str) -> tuple[int, int, int]:
    """Return a sort key: v2 before v1 before v1beta2 before v1alpha1 (apimachinery `version/helpers.go`)."""
    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if not match:
        return (3, 0, 0)
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (stage, -int(match[1]), -int(match[3] or 0))


def _of(catalog: Catalog, group: str, version: str) -> list[ResourceType]:
    found = [kind for kind in catalog if (kind.group, kind.version) == (group, version)]
    return sorted(found, key=lambda kind: kind.plural)


def _groups(catalog: Catalog) -> list[Object]:
    versions: dict[str, set[str]] = {}
    for kind in catalog:
        if kind.group:
            versions.setdefault(kind.group, set()).add(kind.version)
    groups = []
    for group, names in sorted(versions.items()):
        served = [{"groupVersion": f"{group}/{name}", "version": name} for name in sorted(names, key=version_priority)]
        groups.append({"name": group, "versions": served, "preferredVersion": served[0]})
    return groups


def _resource_list(kinds: list[ResourceType]) -> Object | None:
    if not kinds:
        return None
    resources: list[Object] = []
    for kind in kinds:
        entry: Object = {
            "name": kind.plural,
            "singularName": kind.singular or kind.kind.lower(),
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": _VERBS,
        }
        more = {"shortNames": list(kind.short_names), "categories": list(kind.categories)}
        resources.append({**entry, **{name: value for name, value in more.items() if value}})
        if kind.status:
            name = f"{kind.plural}/status"
            resources.append({**entry, "name": name, "singularName": "", "verbs": ["get", "patch", "update"]})
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": kinds[0].api_version,
        "resources": resources,
    }


def _openapi_index(catalog: Catalog) -> Object:
    places = {f"{'apis' if kind.group else 'api'}/{kind.api_version}" for kind in catalog}
    return {"paths": {place: {"serverRelativeURL": f"/openapi/v3/{place}"} for place in sorted(places)}}


def _openapi(kinds: list[ResourceType]) -> Object | None:
    if not kinds:
        return None
    described: Object = {
        **METADATA,
        "description": "ObjectMeta is metadata that all persisted resources must have.",
    }
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION["gitVersion"]},
        "paths": dict(path for kind in kinds for path in _paths(kind)),
        "components": {"schemas": {_META: described, **{_name(kind): _schema(kind) for kind in kinds}}},
    }


def _name(kind: ResourceType) -> str:
    """Return a component name as the real server makes it: the group's labels reversed, version, kind."""
    return ".".join([*reversed(kind.group.split(".")), kind.version, kind.kind]).lstrip(".")


def _schema(kind: ResourceType) -> Object:
    own = kind.schema
    properties = {
        "apiVersion": {"type": "string", "description": _TEXTS["apiVersion"]},
        "kind": {"type": "string", "description": _TEXTS["kind"]},
        "metadata": {
            "description": _TEXTS["metadata"],
            "allOf": [{"$ref": f"#/components/schemas/{_META}"}],
        },
        **own.get("properties", {}),
    }
    return {**own, "properties": properties, "x-kubernetes-group-version-kind": [_gvk(kind)]}


def _gvk(kind: ResourceType) -> Object:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _paths(kind: ResourceType) -> Iterable[tuple[str, Object]]:
    root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"
    parent = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
    patches = [JSON, MERGE, *([STRATEGIC] if kind.strategic_merge and kind is not CRDS else []), APPLY]
    yield parent, {"get": _operation(kind, "list"), "post": _operation(kind, "post", ["application/json"])}
    one = {
        "get": _operation(kind, "get"),
        "put": _operation(kind, "put", ["application/json"]),
        "patch": _operation(kind, "patch", patches),
        "delete": _operation(kind, "delete"),
    }
    yield f"{parent}/{{name}}", one
    if kind.status:
        yield f"{parent}/{{name}}/status", {verb: one[verb] for verb in ("get", "put", "patch")}


def _operation(kind: ResourceType, action: str, bodies: Iterable[str] = ()) -> Object:
    body: dict[str, Any] = {}
    if bodies:
        names = ("dryRun", "fieldManager", "fieldValidation")
        body["parameters"] = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names]
        body["requestBody"] = {
            "content": {media: {"schema": {"$ref": f"#/components/schemas/{_name(kind)}"}} for media in bodies}
        }
    answer = {"application/json": {"schema": {"$ref": f"#/components/schemas/{_name(kind)}"}}}
    return {
        **body,
        "responses": {"200": {"description": "OK", "content": answer}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _gvk(kind),
    }
