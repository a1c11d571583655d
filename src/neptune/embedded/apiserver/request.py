"""HTTP requests and answers as values: paths, query parameters, bodies and content negotiation. Pure.

`http` makes a `Request` of what came over the wire; `core` reads it with the functions here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import yaml

from neptune.api import selectors
from neptune.embedded.apiserver import protobuf
from neptune.embedded.apiserver.catalog import Catalog
from neptune.embedded.apiserver.decode import Call
from neptune.embedded.apiserver.objects import Object
from neptune.embedded.apiserver.patch import APPLY, STRATEGIC, WAYS
from neptune.embedded.apiserver.registry import Preconditions
from neptune.embedded.apiserver.resources import ResourceType
from neptune.embedded.apiserver.status import (
    FieldError,
    StatusError,
    bad_request,
    invalid,
    not_found,
    not_supported,
    unsupported_media_type,
)
from neptune.embedded.apiserver.watch import ListOptions, Selection

_PROPAGATION = ("Foreground", "Background", "Orphan")

_META_VERSIONS = (("meta.k8s.io", "v1"), ("meta.k8s.io", "v1beta1"))

#: The longest name of a field manager (apimachinery meta/v1 validation.go).
_AGENT_LIMIT = 128

Shape = Literal["Object", "Table", "PartialObjectMetadata"]


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `query` holds the first value of each parameter."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    accept: str = "application/json"
    content_type: str = "application/json"
    user_agent: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: a JSON object that the reader must not modify, or plain text.

    `code` is the HTTP status; `warnings` go into Warning headers.
    """

    code: int
    body: Object | str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """What a path points at."""

    kind: ResourceType
    namespace: str
    name: str
    subresource: str


def target(catalog: Catalog, path: str) -> Target | None:
    """Return what a path points at, or None.

    Raises:
        StatusError: 404 for a subresource that the kind does not have.
    """
    match path.strip("/").split("/"):
        case ["api", version, *rest]:
            group = ""
        case ["apis", group, version, *rest]:
            pass
        case _:
            return None
    namespace = ""
    is_namespace = group == "" and (len(rest) == 2 or rest[2:] == ["status"])
    if len(rest) >= 3 and rest[0] == "namespaces" and not is_namespace:
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource, *more = *rest, *[""] * (3 - len(rest))
    kind = catalog.find(group, version, plural)
    if kind is None or more or bool(namespace) > kind.namespaced or (name and bool(namespace) != kind.namespaced):
        return None
    if subresource not in ("", "status") or (subresource and not kind.status):
        raise not_found(kind, name)
    return Target(kind, namespace, name, subresource)


def selection(request: Request, target: Target) -> Selection:
    """Return what a list, a watch or a delete of a collection covers.

    Raises:
        StatusError: 400, a selector cannot be read.
    """
    try:
        labels = selectors.parse_labels(request.query.get("labelSelector", ""))
        fields = selectors.parse_fields(request.query.get("fieldSelector", ""), target.kind.field_names())
    except ValueError as error:
        raise bad_request(str(error)) from error
    return Selection(target.kind, target.namespace, labels, fields)


def list_options(request: Request) -> ListOptions:
    """Return the options of a list or a watch.

    Raises:
        StatusError: 400 or 422, a parameter is wrong or does not go with another one.
    """
    query = request.query
    initial = query.get("sendInitialEvents")
    options = ListOptions(
        resource_version=query.get("resourceVersion", ""),
        resource_version_match=query.get("resourceVersionMatch", ""),
        limit=number(query, "limit"),
        continue_token=query.get("continue", ""),
        bookmarks=flag(query, "allowWatchBookmarks"),
        send_initial_events=None if initial is None else flag(query, "sendInitialEvents"),
    )
    errors = _watch_errors(options) if flag(query, "watch") else _list_errors(options)
    if errors:
        raise invalid("meta.k8s.io", "ListOptions", "", errors)
    return options


def call(request: Request, target: Target, now: datetime) -> Call:
    """Return the write that a request asks for.

    Raises:
        StatusError: 422, an option has an unknown value.
    """
    dry_run, validation = request.query.get("dryRun", ""), request.query.get("fieldValidation", "") or "Warn"
    errors = []
    if dry_run not in ("", "All"):
        errors.append(not_supported("dryRun", [dry_run], ["All"]))
    if validation not in ("Ignore", "Strict", "Warn"):
        errors.append(not_supported("fieldValidation", validation, ["", "Ignore", "Strict", "Warn"]))
    if errors:
        option_kind = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions"}
        raise invalid("meta.k8s.io", option_kind.get(request.method, "DeleteOptions"), "", errors)
    return Call(
        target.kind,
        target.namespace,
        target.name,
        now,
        status=target.subresource == "status",
        dry_run=bool(dry_run),
        validation=validation,
        manager=request.query.get("fieldManager", ""),
        agent=request.user_agent.partition("/")[0][:_AGENT_LIMIT],
        force=flag(request.query, "force"),
    )


def delete_options(request: Request) -> Object:
    """Return the DeleteOptions of a request, empty without a body.

    Raises:
        StatusError: 400, the body is something else; 415; 422, it has an unknown policy.
    """
    options = body(request) if request.body else {}
    if not isinstance(options, dict):
        raise bad_request("the body of the request is not a DeleteOptions")
    policy = options.get("propagationPolicy") or request.query.get("propagationPolicy")
    if policy not in (None, "", *_PROPAGATION):
        error = not_supported("propagationPolicy", policy, [*_PROPAGATION, "nil"])
        raise invalid("meta.k8s.io", "DeleteOptions", "", [error])
    return options


def patch_type(request: Request, kind: ResourceType) -> str:
    """Return the content type of a patch.

    Raises:
        StatusError: 415, the kind takes no such patch.
    """
    media = media_type(request.content_type)
    accepted = [*(way for way in WAYS if way != STRATEGIC or kind.strategic_merge), APPLY]
    if media not in accepted:
        raise unsupported_media_type(accepted)
    return media


def preconditions(options: Object) -> Preconditions:
    """Return the preconditions of DeleteOptions."""
    wanted = options.get("preconditions") or {}
    return Preconditions(uid=wanted.get("uid") or "", resource_version=wanted.get("resourceVersion") or "")


def body(request: Request) -> Any:
    """Return the body as JSON values.

    Raises:
        StatusError: 400, it cannot be read; 415, it is neither JSON nor YAML, nor a protobuf that `protobuf` reads.
    """
    media = media_type(request.content_type)
    if media == protobuf.MEDIA:
        return _from_protobuf(request.body)
    if media not in ("", "application/json", "application/yaml", APPLY) and not media.endswith("+json"):
        raise unsupported_media_type(("application/json", "application/yaml"))
    try:
        return _parse(request.body, is_yaml=media.endswith("yaml"))
    except (TypeError, ValueError, yaml.YAMLError) as error:
        raise bad_request(f"the body of the request cannot be read as {media or 'JSON'}: {error}") from error


def _from_protobuf(data: bytes) -> Any:
    try:
        value = protobuf.decode(data)
    except ValueError as error:
        raise bad_request(f"the body of the request cannot be read as {protobuf.MEDIA}: {error}") from error
    if value is None:
        hint = "application/yaml; this server reads no protobuf of this kind, use kubectl create -f or kubectl apply -f"
        raise unsupported_media_type(("application/json", hint))
    return value


def media_type(header: str) -> str:
    """Return a Content-Type without its parameters."""
    return header.partition(";")[0].strip().lower()


def shape(accept: str) -> Shape:
    """Return what the client wants objects turned into, the first that this server can do.

    Raises:
        StatusError: 406, it can do none.
    """
    for part in accept.split(","):
        media, *rest = (each.strip() for each in part.split(";"))
        parameters = dict(each.split("=", 1) for each in rest if "=" in each)
        wanted = parameters.get("as", "")
        if wanted and (parameters.get("g"), parameters.get("v")) not in _META_VERSIONS:
            continue
        if media in ("application/json", "application/*", "*/*", ""):
            if wanted in ("", "Table"):
                return "Table" if wanted else "Object"
            if wanted in ("PartialObjectMetadata", "PartialObjectMetadataList"):
                return "PartialObjectMetadata"
    raise StatusError(406, "NotAcceptable", "only the following media types are accepted: application/json")


def flag(query: Mapping[str, str], name: str) -> bool:
    """Return a boolean parameter as Kubernetes reads it: anything but empty, 0 and false is true."""
    return query.get(name, "").lower() not in ("", "0", "false")


def number(query: Mapping[str, str], name: str) -> int:
    """Return a whole-number parameter, 0 when absent or negative.

    Raises:
        StatusError: 400, it is no number.
    """
    text = query.get(name, "") or "0"
    if not text.removeprefix("-").isdecimal():
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return max(0, int(text))


def _parse(data: bytes, *, is_yaml: bool) -> Any:
    try:
        # JSON first for YAML too: kubectl sends it there, and it is read a hundred times faster.
        value = json.loads(data, parse_constant=_no_json)
    except ValueError:
        if not is_yaml:
            raise
        read = yaml.load(data, Loader=_JSONTypesLoader)  # noqa: S506 (a subclass of SafeLoader)
        # Through JSON, because YAML also has keys that are no strings, anchors that go round, sets and bytes.
        value = json.loads(json.dumps(read), parse_constant=_no_json)
    if b"\\ud" in data.lower():
        # Half of a surrogate pair is no text. Go's decoder replaces it too.
        text = json.dumps(value, ensure_ascii=False)
        value = json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    return value


def _no_json(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


class _JSONTypesLoader(yaml.SafeLoader):
    """YAML with JSON's types only: a time stays the string that was written."""


_JSONTypesLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _list_errors(options: ListOptions) -> list[FieldError]:
    match = options.resource_version_match
    found = []
    if match and not options.resource_version:
        found.append(_no_match("resourceVersionMatch is forbidden unless resourceVersion is provided"))
    if match and options.continue_token:
        found.append(_no_match("resourceVersionMatch is forbidden when continue is provided"))
    if match not in ("", "Exact", "NotOlderThan"):
        found.append(not_supported("resourceVersionMatch", match, ["Exact", "NotOlderThan", ""]))
    if match == "Exact" and options.resource_version == "0":
        found.append(_no_match('resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    if options.send_initial_events is not None:
        detail = "sendInitialEvents is forbidden for list"
        found.append(FieldError("sendInitialEvents", "FieldValueForbidden", detail=detail))
    return found


def _watch_errors(options: ListOptions) -> list[FieldError]:
    match, initial = options.resource_version_match, options.send_initial_events
    found = []
    if initial is not None and match != "NotOlderThan":
        found.append(_no_match("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
    if match and initial is None:
        found.append(_no_match("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"))
    if match not in ("", "NotOlderThan"):
        found.append(not_supported("resourceVersionMatch", match, ["NotOlderThan"]))
    return found


def _no_match(detail: str) -> FieldError:
    return FieldError("resourceVersionMatch", "FieldValueForbidden", detail=detail)
