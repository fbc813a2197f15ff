"""Content credentials: a manifest of C2PA 2 in a PNG, signed with a certificate of the user's.

It says that the image was made by a trained model and by Limner, and breaks when the image is changed. Nothing is asked
of the network: no time stamp is fetched, and no revocation list. It needs the extra `c2pa`.
"""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple, Self

from limner.core.errors import UserError
from limner.core.version import __version__
from limner.images.marks import SYNTHETIC

if TYPE_CHECKING:
    import c2pa
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

CHUNK = b"caBX"  # of a PNG, in which C2PA keeps its manifests
OFFLINE = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"ocsp_fetch": False, "remote_manifest_fetch": False},
}
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
NO_C2PA = "Content credentials need c2pa-python: pip install 'limner[c2pa]'."
LIMNER = {"name": "Limner", "version": __version__}
CREATED = {"action": "c2pa.created", "digitalSourceType": SYNTHETIC, "softwareAgent": LIMNER}
MANIFEST = {
    "claim_generator_info": [LIMNER],
    "format": "image/png",
    "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [CREATED]}}],
}


State = Literal["trusted", "valid", "broken", "unknown"]
STATES: dict[str, State] = {"Trusted": "trusted", "Valid": "valid"}  # C2PA's words; all others: broken


class Credentials(NamedTuple):
    """What the signature of a file is worth."""

    state: State
    """Valid: it holds, and nobody vouches for its certificate. Unknown: c2pa-python is not installed."""
    signer: str | None
    problems: tuple[str, ...] = ()
    """C2PA's codes of what does not hold."""

    def words(self) -> str:
        """The same for a person to read."""
        if self.state == "unknown":
            return f"there is one, not checked. {NO_C2PA}"
        if self.state == "broken":
            return f"does NOT hold: the file is not as it was signed ({', '.join(self.problems)})"
        by = f"holds; signed by {self.signer}"
        return by if self.state == "trusted" else f"{by}, for whose certificate nobody vouches here"


class Signer:
    """Signs PNGs with a certificate."""

    def __init__(self, signer: "c2pa.Signer") -> None:
        self._signer = signer

    @classmethod
    def open(cls, certificates: Path, key: Path) -> Self:
        """A signer with a certificate and those above it, in PEM, the signer's first, and its private key.

        Raises UserError where they cannot be read, do not belong together, or C2PA does not allow such a certificate.
        """
        try:
            import c2pa
        except ImportError:
            raise UserError(NO_C2PA) from None
        chain, secret = _read(certificates), _read(key)
        algorithm = _algorithm(certificates, chain, key, secret)
        try:
            signer = cls(c2pa.Signer.from_info(c2pa.C2paSignerInfo(algorithm, chain, secret, None)))
            signer.sign(_one_pixel())
        except c2pa.C2paError as error:
            raise UserError(f"{certificates} cannot sign: {error}") from None
        return signer

    def sign(self, png: bytes) -> bytes:
        """The PNG with a signed manifest in it."""
        import c2pa

        signed = io.BytesIO()
        with c2pa.Context.from_dict(OFFLINE) as context, c2pa.Builder(MANIFEST, context=context) as builder:
            builder.sign(self._signer, "image/png", io.BytesIO(png), signed)
        return signed.getvalue()


_signer: ContextVar[Signer | None] = ContextVar("_signer", default=None)


def open_signer(files: str | None) -> Signer | None:
    """The signer of `CERTIFICATES,KEY`, two files; `None` without. Raises UserError as `Signer.open`."""
    if files is None:
        return None
    certificates, _, key = files.partition(",")
    if not certificates or not key:
        raise UserError(f"--c2pa is {files!r}; give two files, CERTIFICATES,KEY, both PEM.")
    return Signer.open(Path(certificates), Path(key))


@contextmanager
def signing(signer: Signer | None) -> Iterator[None]:
    """Sign every PNG that `generated_png` marks within."""
    before = _signer.set(signer)
    try:
        yield
    finally:
        _signer.reset(before)


def signed(png: bytes) -> bytes:
    """The PNG with a signed manifest where there is a signer, else as it is."""
    signer = _signer.get()
    return png if signer is None else signer.sign(png)


def read_credentials(png: BinaryIO) -> Credentials | None:
    """What the signature in a PNG is worth, whose file has `CHUNK` in it; `None` where it has none."""
    try:
        import c2pa
    except ImportError:
        return Credentials("unknown", None)
    try:
        with c2pa.Context.from_dict(OFFLINE) as context:
            reader = c2pa.Reader.try_create("image/png", png, context=context)
        said = None if reader is None else json.loads(reader.json())
    except c2pa.C2paError as error:
        return Credentials("broken", None, (str(error),))
    if said is None:
        return None
    manifest = said["manifests"][said["active_manifest"]]
    problems = tuple(problem["code"] for problem in said.get("validation_status", []))
    state = STATES.get(said["validation_state"], "broken")
    return Credentials(state, (manifest.get("signature_info") or {}).get("common_name"), problems)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None


def _algorithm(certificates: Path, chain: bytes, key: Path, secret: bytes) -> str:
    """C2PA's name of the way that the key signs; raises UserError where it does not fit the first certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        certificate = x509.load_pem_x509_certificates(chain)[0]
    except ValueError:
        raise UserError(f"{certificates} holds no certificate in PEM.") from None
    try:
        private = load_pem_private_key(secret, None)
    except (ValueError, TypeError):  # a TypeError: it is encrypted
        raise UserError(f"{key} holds no private key in PEM that can be read without a password.") from None
    if certificate.public_key() != private.public_key():
        raise UserError(f"{key} is not the key of the first certificate in {certificates}.")
    return _name_of(private, key)


def _name_of(private: "PrivateKeyTypes", key: Path) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in CURVES:
        return CURVES[private.curve.name]
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    raise UserError(f"{key} is of a kind that C2PA does not know: take one of the curve P-256.")


def _one_pixel() -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.new("RGB", (1, 1)).save(content, "PNG")
    return content.getvalue()
