"""What comes from others: the packages that are installed, the files that are loaded, the connections that are made."""

import ast
import json
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from page import with_rows

from limner.core.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src/limner").rglob("*.py"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PINS = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK, re.MULTILINE))
sys.path.insert(0, str(ROOT / "scripts"))


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a module, with the dotted name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that a module imports, by its dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


# --- what is installed ----------------------------------------------------------------------------------------------


def test_the_lock_has_all_that_is_needed() -> None:
    """By pip's own metadata: every requirement of Limner and of what is in the lock, in a version that fits."""
    own = [Requirement(text) for text in requires("limner") or ()]
    needed = [one for one in own if one.marker is None or any(one.marker.evaluate({"extra": e}) for e in extras())]
    for name in PINS:
        theirs = [Requirement(text) for text in distribution(name).requires or ()]
        needed += [one for one in theirs if one.marker is None or one.marker.evaluate({"extra": ""})]
    missing = {
        str(one)
        for one in needed
        if (name := canonicalize_name(one.name)) not in ("torch", "limner", "pip")
        and (name not in PINS or not one.specifier.contains(PINS[name], prereleases=True))
    }
    assert not missing


def extras() -> list[str]:
    return distribution("limner").metadata.get_all("Provides-Extra") or []


def test_every_package_of_the_lock_has_hashes_and_is_installed_in_that_version() -> None:
    blocks = re.split(r"\n(?=[a-z0-9])", LOCK.partition("\n")[2])
    assert len(blocks) == len(PINS) > 50
    for block in blocks:
        assert re.fullmatch(r"[a-z0-9-]+==\S+( \\\n    --hash=sha256:[0-9a-f]{64})+\n?", block), block[:80]
    assert {name: distribution(name).version for name in PINS} == PINS


def test_the_page_of_licences_is_that_of_what_is_installed() -> None:
    import licences

    page = licences.PAGE.read_text(encoding="utf-8")
    assert with_rows(page, licences.BEGIN, licences.rows()) == page, "write it anew with python scripts/licences.py"


def test_the_bill_of_materials_is_valid_and_agrees_with_the_lock() -> None:
    sbom = pytest.importorskip("sbom", reason="cyclonedx-python-lib is not installed")
    content = sbom.bill()
    bom = json.loads(content)
    versions = {one["name"]: one["version"] for one in bom["components"]}
    assert versions.items() - {("torch", versions["torch"])} <= PINS.items()
    assert {"numpy", "torch", "optuna", "fastapi"} <= versions.keys()
    assert not versions.keys() & {"pytest", "mypy"}
    for one in bom["components"]:
        assert one["licenses"], one["name"]
        assert one["name"] == "torch" or (all(of["content"] in LOCK for of in one["hashes"]) and one["hashes"])
    (own,) = (one for one in bom["dependencies"] if one["ref"] == "limner")
    assert set(own["dependsOn"]) == versions.keys()


def test_an_audit_names_what_is_known_and_how_much_was_looked_up() -> None:
    import audit

    fine = {"name": "a", "version": "1", "vulns": []}
    bad = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
    unknown = {"name": "c", "skip_reason": "not found"}
    assert audit.verdict({"dependencies": [fine, unknown]})[1]
    lines, is_fine = audit.verdict({"dependencies": [fine, bad, unknown]})
    assert not is_fine
    assert lines.splitlines() == [
        "audit: 2 of 3 packages looked up, 1 with known vulnerabilities",
        "b 2: PYSEC-1 (mended in 3)",
    ]


# --- what is loaded -------------------------------------------------------------------------------------------------


def test_nothing_is_unpickled() -> None:
    """Nor is text run as code, or given to a shell."""
    forbidden = ("pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib")
    for file in SOURCES:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        imported = {name for name in imports(tree) if name.partition(".")[0] in forbidden}
        assert imported <= ALLOWED.get(file.name, set()), file
        for name, call in calls(tree):
            options = {key.arg: ast.unparse(key.value) for key in call.keywords}
            assert name not in ("eval", "exec", "os.system", "os.popen"), file
            assert options.get("shell", "False") == "False", file
            if name in ("np.load", "numpy.load"):
                assert options.get("allow_pickle", "False") == "False", file
            if name == "torch.load":
                assert options.get("weights_only") == "True", file


# MTCNN's weights come inside its package, and are read by joblib as that package reads them.
ALLOWED: dict[str, set[str]] = {"mtcnn.py": {"joblib"}}


def test_a_network_larger_than_its_file_is_not_built(model_folder: Path, tmp_path: Path) -> None:
    """A kilobyte of settings that describes a generator of 13 GB is one line, and takes no memory."""
    resource = pytest.importorskip("resource", reason="this system does not count memory so")
    from limner.model.model import Model

    shutil.copytree(model_folder, tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_bytes())
    config |= {"latent_size": 49152, "generator": config["generator"] | {"width": 4096}}
    (tmp_path / "model/config.json").write_text(json.dumps(config))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="does not hold the network"):
        Model.load(tmp_path / "model")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB; it would be 13 times that


# --- connections ----------------------------------------------------------------------------------------------------


def test_only_what_is_meant_to_connect_can() -> None:
    """Nothing else imports a library that connects to other machines."""
    connecting = ("requests", "urllib.request", "http.client", "socket", "huggingface_hub", "httpx", "pooch", "ftplib")
    found = {
        str(file.relative_to(ROOT / "src/limner"))
        for file in SOURCES
        if any(name.startswith(connecting) for name in imports(ast.parse(file.read_text(encoding="utf-8"))))
    }
    assert found == CONNECTS


CONNECTS = {
    "features/cache.py",  # weights and the browser runtime, by checksum
    "model/hub.py",
    "exporting/hub.py",
    "exporting/card.py",  # has the Hub check a card
    "studio/app.py",  # asks this machine for its own name
}
