"""onnxruntime-web: what runs an ONNX file in a browser, fetched from npm once or taken from a folder."""

import gzip
import tarfile
from pathlib import Path
from typing import NamedTuple

from limner.core.errors import UserError
from limner.core.files import sha256
from limner.features.cache import Remote, fetch_file

VERSION = "1.30.0"
PACKAGE = Remote(
    f"onnxruntime-web {VERSION}",
    f"onnxruntime-web-{VERSION}.tgz",
    f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz",
    33_106_585,
    "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71",
)
# Of its builds the one that computes on the CPU alone: half as large as those for GPUs.
SCRIPT, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
CHECKSUMS = {
    SCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}


class Runtime(NamedTuple):
    """The two files of onnxruntime-web that a page needs."""

    script: str
    wasm_gz: bytes
    """WebAssembly, compressed to a quarter; browsers decompress it."""


def load_runtime(folder: Path | None = None, quiet: bool = False) -> Runtime:
    """onnxruntime-web from `folder`, or by default from npm, which is asked once.

    Raises UserError where `folder` does not hold its files in the version that pages are made for, or they cannot be
    fetched.
    """
    files = _fetched(quiet) if folder is None else _read(folder)
    return Runtime(files[SCRIPT].decode(), gzip.compress(files[WASM], 9, mtime=0))


def _fetched(quiet: bool) -> dict[str, bytes]:
    otherwise = f"or give the folder of its files {SCRIPT} and {WASM} by --runtime DIR"
    archive = fetch_file(PACKAGE, otherwise, quiet)
    with tarfile.open(archive) as package:
        return {name: package.extractfile(f"package/dist/{name}").read() for name in CHECKSUMS}  # type: ignore[union-attr]


def _read(folder: Path) -> dict[str, bytes]:
    files = {}
    for name, checksum in CHECKSUMS.items():
        # The folder of the files, or that of the npm package.
        path = next((path for path in (folder / name, folder / "dist" / name) if path.is_file()), None)
        if path is None:
            raise UserError(f"{folder} does not hold {name} of {PACKAGE.what}: give its folder dist as --runtime.")
        if sha256(path) != checksum:
            raise UserError(f"{path} is not that of {PACKAGE.what}: take the file of that version from npm.")
        files[name] = path.read_bytes()
    return files
