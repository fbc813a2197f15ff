"""Write dist/limner.cdx.json: what Limner and its extras are installed with, as a CycloneDX bill of materials."""

import re
from importlib.metadata import version
from pathlib import Path

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from dependencies import packages
from packageurl import PackageURL

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "dist" / "limner.cdx.json"


def hashes() -> dict[str, list[str]]:
    """Package -> sha256 of each of its files that the lock allows."""
    blocks = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text(encoding="utf-8"))
    return {block.partition("==")[0]: re.findall("sha256:([0-9a-f]{64})", block) for block in blocks if "==" in block}


def bill() -> str:
    """The bill of materials in JSON. One hash of a package is that of the file for one system and version of Python."""
    licences, locked = LicenseFactory(), hashes()
    root = Component(
        name="limner",
        version=version("limner"),
        type=ComponentType.APPLICATION,
        bom_ref="limner",
        licenses=[LicenseExpression("Apache-2.0 AND LicenseRef-CelebA-NonCommercial")],
        purl=PackageURL("pypi", name="limner", version=version("limner")),
    )
    bom = Bom()
    bom.metadata.component = root
    found = {
        one.name: Component(
            name=one.name,
            version=one.version,
            bom_ref=one.name,
            licenses=[licences.make_from_string(one.licence)],
            purl=PackageURL("pypi", name=one.name, version=one.version),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=of) for of in locked.get(one.name, [])],
        )
        for one in packages()
    }
    for component in found.values():
        bom.components.add(component)
    bom.register_dependency(root, found.values())
    for one in packages():
        bom.register_dependency(found[one.name], [found[name] for name in one.needs if name in found])
    return JsonV1Dot6(bom).output_as_string(indent=1)


if __name__ == "__main__":
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(bill() + "\n", encoding="utf-8")
    print(OUT)
