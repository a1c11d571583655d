"""A small certificate authority: what a broker and its clients need to know each other by certificates.

Invariant: what is issued passes Python's strict checks (VERIFY_X509_STRICT, on from 3.13) and OpenSSL's, and a private
key is shown nowhere. The one door to `cryptography`.
Neighbours: `neptune certs` writes it to files; `neptune.testing.certs` makes one that lives as long as a test.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from neptune.errors import SettingsError

#: A new authority means new files on each node, so it should be rare; a leaf is renewed by one command.
ROOT_VALIDITY = timedelta(days=3650)
LEAF_VALIDITY = timedelta(days=397)
#: A machine's clock may be some minutes off.
CLOCK_SKEW = timedelta(hours=1)
#: RFC 5280, appendix A.1: ub-common-name.
MAX_NAME = 64
#: A name in DNS, or a wildcard for those one level below (RFC 6125, section 6.4.3).
_HOST = re.compile(
    r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)*", re.ASCII | re.IGNORECASE
)


@dataclass(frozen=True, slots=True, repr=False)
class KeyPair:
    """A certificate and its private key, both in PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """Signs certificates that whoever trusts `pair.certificate` accepts."""

    def __init__(self, pair: KeyPair, *, validity: timedelta = LEAF_VALIDITY) -> None:
        """Use an existing authority; what it signs holds for `validity`, but not longer than itself.

        Raises:
            SettingsError: these are not a certificate of an authority and its key.
        """
        try:
            self._root = x509.load_pem_x509_certificate(pair.certificate)
            key = serialization.load_pem_private_key(pair.key, password=None)
        except (ValueError, TypeError) as error:
            raise SettingsError("the authority's files are not a certificate and its key, both in PEM") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != self._root.public_key():
            raise SettingsError("the authority's key is not that of its certificate")
        self._key = key
        self._validity = validity
        #: The authority's own certificate in PEM.
        self.certificate = pair.certificate

    @classmethod
    def create(cls, name: str, *, validity: timedelta = ROOT_VALIDITY, now: datetime | None = None) -> Self:
        """Return a new authority, which signs itself."""
        return cls(new_root(name, validity=validity, now=now))

    def server(self, hosts: Sequence[str] = ("localhost", "127.0.0.1"), *, now: datetime | None = None) -> KeyPair:
        """Return a pair for a server that is reached by these DNS names and addresses.

        Raises:
            SettingsError: one of them is neither, or the first is too long for the name of a certificate.
        """
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        return self._issue(_subject(hosts[0]), ExtendedKeyUsageOID.SERVER_AUTH, names, now)

    def client(self, name: str, groups: Sequence[str] = (), *, now: datetime | None = None) -> KeyPair:
        """Return a pair for a client. Brokers take the user from CN; Kubernetes does too, and its groups from O.

        Raises:
            SettingsError: the name is too long for a certificate.
        """
        return self._issue(_subject(name, groups), ExtendedKeyUsageOID.CLIENT_AUTH, None, now)

    def _issue(
        self,
        subject: x509.Name,
        usage: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName | None,
        now: datetime | None,
    ) -> KeyPair:
        key = _new_key()
        start = now or datetime.now(UTC)
        end = min(start + self._validity, self._root.not_valid_after_utc)
        builder = _builder(subject, key, self._root.subject, self._key, (start, end))
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return KeyPair(_pem(certificate), _private_pem(key))


def new_root(name: str, *, validity: timedelta = ROOT_VALIDITY, now: datetime | None = None) -> KeyPair:
    """Return the certificate and the key of a new authority."""
    key, subject = _new_key(), _subject(name)
    start = now or datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(subject, key, subject, key, (start, start + validity))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(_pem(certificate), _private_pem(key))


def signing_key() -> bytes:
    """Return a new private key in PEM, for instance for service account tokens."""
    return _private_pem(_new_key())


def expiry(certificate: bytes) -> datetime:
    """Return when a certificate in PEM ends."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc


def _builder(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    period: tuple[datetime, datetime],
) -> x509.CertificateBuilder:
    # Python 3.13 checks strictly (VERIFY_X509_STRICT), which asks for both key identifiers (RFC 5280 §4.2.1).
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(period[0] - CLOCK_SKEW)
        .not_valid_after(period[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )


def _subject(name: str, groups: Sequence[str] = ()) -> x509.Name:
    if not 1 <= len(name) <= MAX_NAME:
        raise SettingsError(f"name {name!r} cannot stand in a certificate: {MAX_NAME} characters at most (RFC 5280)")
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    return x509.Name([*attributes, *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in groups)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if not _HOST.fullmatch(host):
            raise SettingsError(f"{host!r} is no name or address of a host: leave out mqtts:// and the port") from None
        return x509.DNSName(host)


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
