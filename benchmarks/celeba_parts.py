"""CelebA in parts small enough to carry to a machine without a network, put together again.

The parts are zips of 144 x 144 JPEGs, cut without loss out of the aligned images (columns 16 to 160, rows 32 to 176).
`pack` writes the annotations of their images alone, some hundred KB. `build` makes a folder that `limner prepare` takes
for CelebA: each cut lies where it was in 178 x 218 pixels of black. The crop `report004` lies within the cuts, so the
prepared data set has the hash of one from the whole images, at 64 and at 128 pixels.
"""

import argparse
import io
import zipfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image

CORNER = (16, 32)
TABLES = ("list_attr_celeba.txt", "list_eval_partition.txt", "identity_CelebA.txt")


def names(parts: list[Path]) -> dict[str, Path]:
    """The part of each image, by its file name."""
    found = {}
    for part in parts:
        with zipfile.ZipFile(part) as archive:
            found |= {name.rpartition("/")[2]: part for name in archive.namelist() if name.endswith(".jpg")}
    return found


def pack(celeba: Path, parts: list[Path], out: Path) -> None:
    """Write the lines of CelebA's annotations that belong to images of the parts, as a zip."""
    wanted = names(parts)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for table in TABLES:
            lines = (celeba / table).read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if line.partition(" ")[0] in wanted]
            header = [str(len(kept)), lines[1]] if lines[0].strip().isdecimal() else []
            archive.writestr(table, "\n".join([*header, *kept]) + "\n")


def build(annotations: Path, parts: list[Path], out: Path) -> None:
    """Make the folder `out` of the annotations that `pack` wrote and the images of the parts, with all cores."""
    images = out / "img_align_celeba"
    images.mkdir(parents=True)
    with zipfile.ZipFile(annotations) as archive:
        archive.extractall(out)
    shares = [(part, start) for part in parts for start in range(16)]
    with ProcessPoolExecutor() as pool:
        print(f"{sum(pool.map(partial(place, images), shares)):,} images in {out}")


def place(folder: Path, share: tuple[Path, int]) -> int:
    """Write every 16th image of a part, from `start` on, at its place in an aligned one; returns how many."""
    part, start = share
    with zipfile.ZipFile(part) as archive:
        members = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[start::16]
        for member in members:
            canvas = Image.new("RGB", (178, 218))
            canvas.paste(Image.open(io.BytesIO(archive.read(member))).convert("RGB"), CORNER)
            # By its content a PNG; the annotations know it by this name.
            canvas.save(folder / member.rpartition("/")[2], "PNG", compress_level=1)
    return len(members)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pack", "build"])
    parser.add_argument("source", type=Path, help="pack: CelebA's folder; build: the zip that pack wrote")
    parser.add_argument("parts", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    (pack if arguments.what == "pack" else build)(arguments.source, arguments.parts, arguments.out)
