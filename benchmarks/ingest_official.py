"""The official client's own watch as a cache: a dict of what it brings. Says what `ingest` waits for."""

from __future__ import annotations

from typing import Any

from kubernetes import client, config, watch

if __name__ == "__main__":
    config.load_kube_config()
    api = client.CustomObjectsApi()
    objects: dict[tuple[str, str], dict[str, Any]] = {}
    for event in watch.Watch().stream(api.list_cluster_custom_object, "neptune.io", "v1alpha1", "datasets"):
        metadata = event["object"]["metadata"]
        objects[metadata["namespace"], metadata["name"]] = event["object"]
        if metadata["name"] == "newest":
            print("synced", flush=True)
        elif metadata["name"] == "last":
            print("done", flush=True)
