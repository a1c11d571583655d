"""Servers for one machine: a Kubernetes API server and an MQTT broker, for demo, tests, simulation and `internal` mode.

Not for production clusters: nothing here is persistent, replicated or hardened. Each is imported by its full path, so
that an edge node that runs the broker never loads the API server.
"""
