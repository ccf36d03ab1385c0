"""TLS as a client: certificates are checked as Docker's programs check them. Lean until it is called."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl


def client_context(ca_file: str = "", *, verify: bool = True) -> ssl.SSLContext:
    """Return settings for connections to servers whose certificates the machine, or ca_file, vouches for.

    Authorities that people make with openssl often lack the extensions that RFC 5280, section 4.2.1, wants of
    them. Go takes them, and so did Python before 3.13.

    Raises:
        OSError: ca_file cannot be read, or holds no certificate.
    """
    import ssl

    context = ssl.create_default_context(cafile=ca_file or None)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
