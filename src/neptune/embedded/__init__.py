"""Servers for one machine: a Kubernetes API server and an MQTT broker, for the demo, tests and simulation.

Not for production clusters: nothing here is persistent, replicated or hardened.
"""
