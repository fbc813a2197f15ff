"""Certificates for tests: a root, and one that it has signed, as C2PA asks of a signer's."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def new_key(kind: str) -> Key:
    """A key of one of C2PA's kinds."""
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "ps256":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key({"es256": ec.SECP256R1, "es384": ec.SECP384R1, "es512": ec.SECP521R1}[kind]())


def write_certificates(folder: Path, kind: str = "es256", lasts: timedelta = timedelta(days=30)) -> str:
    """Write chain.pem, key.pem and root.pem into the folder; what `--c2pa` is given."""
    root_key, key = new_key("es256"), new_key(kind)
    root = _certificate("Root", root_key, "Root", root_key, lasts)
    signer = _certificate("Painter", key, "Root", root_key, lasts)
    root_pem, signer_pem = (one.public_bytes(serialization.Encoding.PEM) for one in (root, signer))
    (folder / "chain.pem").write_bytes(signer_pem + root_pem)
    (folder / "root.pem").write_bytes(root_pem)
    (folder / "key.pem").write_bytes(private_pem(key))
    return f"{folder / 'chain.pem'},{folder / 'key.pem'}"


def private_pem(key: Key, password: bytes | None = None) -> bytes:
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)


def _certificate(subject: str, key: Key, issuer: str, issuer_key: Key, lasts: timedelta) -> x509.Certificate:
    is_root = subject == issuer
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    )
    usage |= {"decipher_only": False, "digital_signature": not is_root, "key_cert_sign": is_root, "crl_sign": is_root}
    begin = datetime.now(UTC) - timedelta(days=60)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(datetime.now(UTC) + lasts)
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not is_root:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, text), x509.NameAttribute(NameOID.COMMON_NAME, text)]
    )
