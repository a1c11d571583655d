"""The informer of the official client, on ConfigMaps: it cannot watch custom resources."""

from __future__ import annotations

import threading

from kubernetes import client, config
from kubernetes.informer import SharedInformer

if __name__ == "__main__":
    config.load_kube_config()
    informer = SharedInformer(client.CoreV1Api().list_config_map_for_all_namespaces)
    informer.start()
    threading.Event().wait()
