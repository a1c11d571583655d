from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from neptune.testing.certs import Authority, KeyPair

if TYPE_CHECKING:
    from pathlib import Path


def context(purpose: ssl.Purpose, authority: Authority, pair: KeyPair, folder: Path) -> ssl.SSLContext:
    """Return one side's settings; each demands the other's certificate, as strictly as Python 3.13 does."""
    pem = folder / "pair.pem"
    pem.write_bytes(pair.certificate + pair.key)
    made = ssl.create_default_context(purpose, cadata=authority.certificate.decode())
    made.load_cert_chain(pem)
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    return made


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> ssl.SSLObject:
    """Return the server's side after both sides accepted each other."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(down, up, server_hostname=host), server.wrap_bio(up, down, server_side=True)]
    for end in [*ends, *ends]:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return ends[1]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_both_sides_accept_each_other_under_strict_rules(host: str, tmp_path: Path) -> None:
    authority = Authority()
    server = context(ssl.Purpose.CLIENT_AUTH, authority, authority.server(), tmp_path)
    client = context(ssl.Purpose.SERVER_AUTH, authority, authority.client("ada", ["readers"]), tmp_path)

    peer = shake_hands(server, client, host).getpeercert()

    assert peer is not None
    assert peer["subject"] == ((("commonName", "ada"),), (("organizationName", "readers"),))


def test_certificate_of_another_authority_is_refused(tmp_path: Path) -> None:
    ours, other = Authority(), Authority("other")
    server = context(ssl.Purpose.CLIENT_AUTH, ours, ours.server(), tmp_path)
    client = context(ssl.Purpose.SERVER_AUTH, ours, other.client("ada"), tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server, client, "localhost")


def test_server_certificate_names_its_hosts_only(tmp_path: Path) -> None:
    authority = Authority()
    server = context(ssl.Purpose.CLIENT_AUTH, authority, authority.server(["broker"]), tmp_path)
    client = context(ssl.Purpose.SERVER_AUTH, authority, authority.client("ada"), tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(server, client, "localhost")


def test_private_key_is_not_in_the_repr() -> None:
    assert "PRIVATE" not in repr(Authority().client("ada"))
