"""Certificates for tests, made by openssl: an authority, a server's, a client's, and a stranger's."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_certificates(folder: Path) -> Path:
    """Write ca, server-cert (localhost, 127.0.0.1), cert and key (a client's), `other` (of a foreign ca)."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    def signed(name: str, ca: str, extension: str) -> None:
        (folder / "ext").write_text(extension)
        openssl(
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            f"{name}-key.pem",
            "-out",
            "csr",
            "-subj",
            "/CN=t",
        )
        openssl(
            "x509", "-req", "-in", "csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}-key.pem", "-CAcreateserial",
            "-days", "2", "-out", f"{name}.pem", "-extfile", "ext",
        )  # fmt: skip

    for ca in ("ca", "foreign-ca"):
        openssl(
            "req", "-x509", "-newkey", "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{ca}-key.pem", "-out", f"{ca}.pem",
            "-days", "2", "-subj", f"/CN={ca}",
        )  # fmt: skip
    signed("server-cert", "ca", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    signed("cert", "ca", "extendedKeyUsage=clientAuth")
    signed("other", "foreign-ca", "extendedKeyUsage=clientAuth")
    (folder / "cert-key.pem").rename(folder / "key.pem")
    return folder
