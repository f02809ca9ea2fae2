"""An instance's own certificates: its authority, the hosts' (one that serves, one that has expired), a client's."""

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from spnego.channel_bindings import GssChannelBindings

AUTHORITY, SERVER, EXPIRED, CLIENT = "authority", "server", "expired", "client"
CLIENT_NAME = "lab-client"
_YEAR = dt.timedelta(days=365)
_DAY = dt.timedelta(days=1)


def make_authority(folder: Path, user: str) -> None:
    """Write the authority, and a client's certificate that stands for the user."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Patch Lab Windows authority")
    begins, ends = _valid()
    authority = (
        _begin(name, name, key, begins, ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_may_sign(), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(folder / AUTHORITY, authority, key)
    # Windows maps a client's certificate by the user principal name in it (otherName, szOID_NT_PRINCIPAL_NAME).
    principal = f"{user}@localhost".encode()
    upn = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c" + bytes([len(principal)]) + principal)
    _issue(folder, CLIENT, CLIENT_NAME, (begins, ends), x509.SubjectAlternativeName([upn]))


def make_host(folder: Path, name: str, address: str) -> Path:
    """Write a host's certificates, signed by the authority in the folder; returns the folder they are in."""
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address(address))]
    begins, ends = _valid()
    (folder / name).mkdir(exist_ok=True)
    _issue(folder, f"{name}/{SERVER}", name, (begins, ends), x509.SubjectAlternativeName(names))
    _issue(folder, f"{name}/{EXPIRED}", name, (begins - _YEAR, begins), x509.SubjectAlternativeName(names))
    return folder / name


def bindings(certificate: Path) -> GssChannelBindings:
    """Return what ties a login to the TLS channel under it (tls-server-end-point, RFC 5929)."""
    read = x509.load_pem_x509_certificate(certificate.read_bytes())
    return GssChannelBindings(application_data=b"tls-server-end-point:" + read.fingerprint(hashes.SHA256()))


def _valid() -> tuple[dt.datetime, dt.datetime]:
    now = dt.datetime.now(dt.UTC)
    return now - _DAY, now + _YEAR


def _issue(
    folder: Path, file: str, name: str, valid: tuple[dt.datetime, dt.datetime], stands_for: x509.SubjectAlternativeName
) -> None:
    signer = x509.load_pem_x509_certificate((folder / f"{AUTHORITY}.pem").read_bytes())
    signing_key = serialization.load_pem_private_key((folder / f"{AUTHORITY}.key").read_bytes(), None)
    assert isinstance(signing_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    usage = ExtendedKeyUsageOID.CLIENT_AUTH if file == CLIENT else ExtendedKeyUsageOID.SERVER_AUTH
    certificate = (
        _begin(_name(name), signer.subject, key, *valid)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False)
        .add_extension(stands_for, critical=False)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .sign(signing_key, hashes.SHA256())
    )
    _write(folder / file, certificate, key)


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begins: dt.datetime, ends: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _may_sign() -> x509.KeyUsage:
    return x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    path.with_suffix(".pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = path.with_suffix(".key")
    secret.touch(mode=0o600)
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
