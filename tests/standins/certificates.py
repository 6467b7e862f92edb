"""A throw-away certificate authority and one server certificate signed by it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_CONFIG = """\
[req]
distinguished_name = name
prompt = no
[name]
CN = stand-in for tests
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Certificates(NamedTuple):
    """Files in PEM: the authority that clients are to trust, the server's certificate and key."""

    authority: Path
    server: Path
    key: Path


def make_certificates(folder: Path, hosts: Sequence[str]) -> Certificates:
    """Write an authority and a certificate for `hosts`, valid for 30 days, with openssl.

    Parameters
    ----------
    folder : Path
        Exists; its files are secret to nobody and die with the test.
    hosts : sequence of str
        Host names; `*.` stands for one label.
    """
    names = ", ".join(f"DNS:{host}" for host in hosts)
    (folder / "openssl.cnf").write_text(_CONFIG.format(names=names), encoding="ascii")
    made = Certificates(folder / "authority.pem", folder / "server.pem", folder / "server.key")
    authority = ("-extensions", "authority", "-keyout", "authority.key", "-out", made.authority)
    signer = ("-CA", made.authority, "-CAkey", "authority.key")
    server = ("-extensions", "server", *signer, "-keyout", made.key, "-out", made.server)
    for options in (authority, server):
        command = ("openssl", "req", "-x509", "-config", "openssl.cnf", "-days", "30", *_KEY)
        subprocess.run((*command, *options), cwd=folder, check=True, capture_output=True)
    return made
