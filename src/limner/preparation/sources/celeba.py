"""CelebA as it is distributed: aligned pictures in their zip or unpacked, annotations as .txt or Kaggle's .csv."""

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from limner.core.errors import UserError
from limner.preparation.sources.containers import Pictures, open_pictures, shown
from limner.preparation.sources.folder import Source
from limner.preparation.sources.tables import Labels, Table, labels_of, read_table

PICTURES = "img_align_celeba"
ATTRIBUTES, PARTITION, IDENTITY = ANNOTATIONS = "list_attr_celeba", "list_eval_partition", "identity_CelebA"
SUFFIXES = ".txt", ".csv"
SPLITS = {"0": "train", "1": "val", "2": "test"}
LICENCE = "CelebA: non-commercial research only (https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html)"


def open_celeba(path: Path) -> Source | None:
    """CelebA at `path`, which is its folder, its folder of pictures, or a zip of them; `None` where it is not CelebA.

    The annotations may be beside the pictures, in `Anno/` and `Eval/` as on the authors' drive, or in the zip itself.
    None of them is required, and each may know more pictures than there are.

    Raises:
        UserError: there are annotations without pictures, or the zip is none. Reading the labels raises it where
            an annotation file is not what its name says.
    """
    place = _find_pictures(path)
    if place is None:
        return None
    pictures = open_pictures(place)
    if place.is_file() and not place.name.startswith(PICTURES) and not any(f"{PICTURES}/" in n for n in pictures.names):
        return None

    files: dict[str, str] = {}
    rejects: dict[str, str] = {}
    for name in pictures.names:
        file = name.rpartition("/")[2]
        if file.partition(".")[0] in ANNOTATIONS:
            pass
        elif file in files:
            rejects[name] = f"the same name as {files[file]}"
        else:
            files[file] = name
    files = dict(sorted(files.items()))

    return Source(
        kind="celeba",
        licence=LICENCE,
        default_crop="report004",
        pictures=pictures,
        files=files,
        rejects=pictures.rejects | rejects,
        read_labels=partial(_read_labels, place, pictures, files),
    )


def _read_labels(place: Path, pictures: Pictures, files: Collection[str]) -> Labels:
    labels = Labels()
    if attributes := _annotation(ATTRIBUTES, place, pictures, files):
        if not attributes.columns:
            raise attributes.error(1, "this should be the number of pictures, and line 2 the attribute names")
        labels = labels_of(attributes)
        labels.missing |= attributes.missing(files)
    if partition := _annotation(PARTITION, place, pictures, files):
        for file, value in _single_values(partition):
            if value not in SPLITS:
                raise partition.error(partition.rows[file][0], f"{value!r} is no partition: 0 train, 1 val, 2 test")
            labels.splits[file] = SPLITS[value]
        labels.missing |= partition.missing(files)
    if identity := _annotation(IDENTITY, place, pictures, files):
        labels.identities = dict(_single_values(identity))
        labels.missing |= identity.missing(files)
    return labels


def _find_pictures(path: Path) -> Path | None:
    """The zip or folder with CelebA's pictures; any file may be one, and is judged by what is in it."""
    if not path.is_dir() or path.name == PICTURES:
        return path
    homes = path, path / "Img"
    for place in [home / name for home in homes for name in (f"{PICTURES}.zip", PICTURES)]:
        if place.exists():
            return place
    if any((path / f"{name}{suffix}").exists() for name in ANNOTATIONS for suffix in SUFFIXES):
        raise UserError(f"{shown(path)} has CelebA's annotations, but neither {PICTURES}.zip nor {PICTURES}/: add it")
    return None


def _annotation(name: str, place: Path, pictures: Pictures, files: Collection[str]) -> Table | None:
    """The table called `name`, as .txt or .csv, beside the pictures or among them; `None` where there is none."""
    home = place.parent
    homes = [home, home.parent] if home.name in ("Img", PICTURES) else [home]
    for file in (name + suffix for suffix in SUFFIXES):
        for path in (home / folder / file for home in homes for folder in ("", "Anno", "Eval")):
            if path.is_file():
                return read_table(path, files)
        for member in pictures.names:
            if member.endswith(file):
                return read_table(member, files, inside=pictures)
    return None


def _single_values(table: Table) -> Iterator[tuple[str, str]]:
    for file, (line, values) in table.rows.items():
        if len(values) != 1:
            raise table.error(line, f"{len(values)} values where one belongs")
        yield file, values[0]
