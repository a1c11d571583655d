"""What tests of a controller need: a real API server, and certificates for it.

Import the modules by their full path: this package imports nothing by itself, so that only those who sign
certificates need `cryptography`.
"""
