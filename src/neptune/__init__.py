"""Kubernetes `Dataset` and `Model` resources kept in step with edge nodes, and the reconciler library underneath.

The packages, from what a newcomer meets first to what everything stands on:

- `neptune.cli`: the programs `cloud-controller`, `edge-agent` and `neptune`.
- `neptune.controllers`: the cloud side; desired state down to nodes, status up to Kubernetes.
- `neptune.edge`: the node side; stores what is desired, counts samples, reports.
- `neptune.embedded`: an API server and an MQTT broker for one machine: demo, tests, small set-ups.
- `neptune.testing`: a real API server for tests, pytest fixtures.
- `neptune.runtime`: the reconciler library: client, cache, work queue, controller, manager.
- `neptune.api`: typed Kubernetes objects.
- `neptune.protocol`: what cloud and edge say to each other; no I/O.
- `neptune.transport`: bytes on topics between named peers: MQTT, or memory.

This module imports nothing: an edge node must not load Kubernetes libraries by importing `neptune`.
"""

__version__ = "0.1.0"
