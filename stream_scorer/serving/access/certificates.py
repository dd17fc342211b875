"""The subject of a client's TLS certificate, from gRPC's connection or a proxy's header."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

_CACHED: Final = 1_024
_PEM_BYTES_MOST: Final = 64 * 1024
_SUBJECT_CHARACTERS: Final = 512
_PEM: Final = "x509_pem_cert"
_NAMES: Final = {
    NameOID.BUSINESS_CATEGORY: "businessCategory",
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.GIVEN_NAME: "GN",
    NameOID.ORGANIZATION_IDENTIFIER: "organizationIdentifier",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.SURNAME: "SN",
    NameOID.TITLE: "title",
}
"""Names that OpenSSL, and so nginx, has for attributes which RFC 4514 leaves as numbers."""


def subject_of_connection(auth_context: Mapping[str, Sequence[bytes]]) -> str | None:
    """Return the subject of the certificate of a gRPC connection; None without one.

    gRPC has verified the certificate: a server asks for one only together with its CA.

    Args:
        auth_context: Of the call.

    Returns:
        The subject as RFC 4514 writes it; empty if the certificate cannot be read.
    """
    certificates = auth_context.get(_PEM, ())
    if not certificates:
        return None
    return _subject(bytes(certificates[0])) if len(certificates) == 1 else ""


@lru_cache(_CACHED)
def _subject(pem: bytes) -> str:
    if len(pem) > _PEM_BYTES_MOST:
        return ""
    try:
        return x509.load_pem_x509_certificate(pem).subject.rfc4514_string(_NAMES)
    except ValueError:
        return ""


def is_subject(text: str) -> bool:
    """Return whether a header's value can be a subject: printable ASCII within the limit."""
    return 0 < len(text) <= _SUBJECT_CHARACTERS and text.isascii() and text.isprintable()
