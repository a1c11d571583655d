"""Servers for one machine, for the demo, tests and the agent's `internal` mode: not for production clusters.

Each is imported by its full path: an edge node that runs the broker has no use for the rest.
"""
