"""A TLS socket for paho 2.2, which leaves one open whose handshake failed, and keeps to itself why reading failed.

With TLS 1.3 a client's handshake is over before the server has looked at its certificate: a refusal arrives as an alert
on the first read (RFC 8446, 4.4.2.4 and 6.2), which paho turns into "connection lost".
"""

from __future__ import annotations

import ssl


class TlsSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails, and remembers the alert that ended it."""

    alert: ssl.SSLError | None = None

    def do_handshake(self, block: bool = False) -> None:
        """See `ssl.SSLSocket`."""
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """See `ssl.SSLSocket`."""
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self.alert = error
            raise
