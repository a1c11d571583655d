"""A certificate authority that lives in memory for the length of a test.

Signs server and client certificates for an API server or a broker on loopback. Neighbours: `neptune.certs` does it.
"""

from __future__ import annotations

from datetime import timedelta

try:
    from neptune import certs
    from neptune.certs import KeyPair, signing_key
except ModuleNotFoundError as error:
    if error.name != "cryptography":
        raise
    raise ImportError(
        "neptune.testing makes its certificates with the package `cryptography`: pip install 'neptune-edge[testing]'"
    ) from error

__all__ = ["Authority", "KeyPair", "signing_key"]

#: No test runs for so long.
VALIDITY = timedelta(days=7)


class Authority(certs.Authority):
    """Signs certificates that whoever trusts `certificate` accepts."""

    def __init__(self, name: str = "neptune-testing") -> None:
        super().__init__(certs.new_root(name), validity=VALIDITY)
