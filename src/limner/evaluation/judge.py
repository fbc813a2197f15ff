"""The judge: which attributes a picture of a face has, so that a generator can be asked for some and checked.

It looks through `lite0` (`limner.evaluation.extractors`) and adds one hidden layer and a logit for each attribute. The
loss weighs the two classes of each attribute alike, however rare one is. The logits are shifted so that 0 is the line
that divides best a part of the training split that they were not trained on. The test split serves to measure its own
accuracy, the ceiling of what a generator can be found to do, and nothing else.

Shapes: N pictures, H and W their sides, D features of `lite0`, K hidden units, A attributes.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from limner import __version__
from limner.arguments import checked
from limner.data.packed import PackedFaces
from limner.errors import UserError
from limner.evaluation.extractors import Extractor, load_extractor
from limner.files import new_folder, sha256, write_file
from limner.progress import progress_bar
from limner.randomness import sole_training, stream, torch_seed
from limner.training.engine import machine_facts

SHIPPED = Path(__file__).resolve().parents[1] / "assets" / "judge"
WEIGHTS, CONFIG, CARD = "judge.safetensors", "config.json", "README.md"
MAX_CONFIG_BYTES = 1 << 20
EYES: Literal["lite0"] = "lite0"
RAREST = 10
PORTION = 256  # pictures looked at between two steps of the progress bar

# The judge is the mean of members, each trained without another fifth of the training split, on which its dividing
# lines are then chosen. A mean of networks with one hidden layer is again one with one hidden layer.
MEMBERS, UNITS = 5, 128
EPOCHS, BATCH = 20, 256
RATE, WEIGHT_DECAY = 1e-3, 1e-2
DROPOUT_FEATURES, DROPOUT_HIDDEN = 0.2, 0.5
BY_CHANCE = 0.002  # of balanced accuracy
MEND = "train it again with limner judge train, or install Limner again"


class JudgeConfig(BaseModel):
    """config.json: what the judge decides, what it was made of, and how often it is right."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["limner judge"] = "limner judge"
    format_version: Literal[1] = 1
    limner_version: str = __version__
    attribute_names: tuple[str, ...] = Field(min_length=1, max_length=4096)
    balanced_accuracy: dict[str, float | None]
    """On the held-out pictures; `None` where it is not known."""
    extractor: Literal["lite0"] = EYES
    extractor_sha256: str
    dimension: int = Field(ge=1, le=1 << 16)
    hidden: int = Field(ge=1, le=1 << 16)
    size: int
    """Width and height of the pictures it learned from."""
    crop: str
    data: str
    content_hash: str
    train_pictures: int
    heldout_pictures: int
    """Test pictures, on which it was measured."""
    seed: int
    command: str
    date: str
    machine: str
    licence: str
    weights_sha256: str

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        if tuple(self.balanced_accuracy) != self.attribute_names:
            raise ValueError("balanced_accuracy and attribute_names do not name the same attributes")
        return self


class Judge:
    """Decides the attributes of pictures. Also an `Extractor`, whose features are its hidden layer."""

    name = "judge"

    def __init__(self, config: JudgeConfig, head: "Head", eyes: Extractor) -> None:
        self.config = config
        self.weights_sha256 = config.weights_sha256
        self.dimension = config.hidden
        self.resize = eyes.resize
        self._head = head.eval().requires_grad_(False)
        self._eyes = eyes

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """A names, in the order of every array of attributes here."""
        return self.config.attribute_names

    @property
    def balanced_accuracy(self) -> dict[str, float]:
        """Its own, 0 to 1, on held-out real pictures; nan where these lack one of the two classes."""
        return {name: float("nan") if of is None else of for name, of in self.config.balanced_accuracy.items()}

    def features(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The hidden layer for any number of RGB pictures: uint8 N x H x W x 3 -> N x K."""
        return self._look(images_NHWC)[0]

    def probabilities(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """N x A, 0 to 1, over 0.5 where the judge decides for the attribute.

        They are those of a world in which every attribute is as often there as not.
        """
        return torch.from_numpy(self._look(images_NHWC)[1]).sigmoid().numpy()

    def decide(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """N x A, 1 where the picture has the attribute."""
        return self.decide_by(self._eyes.features(images_NHWC))

    def decide_by(self, features_ND: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The same for pictures that an extractor with the judge's eyes (`has_eyes_of`) has already looked at."""
        return (self._think(features_ND)[1] > 0).astype(np.uint8)

    def has_eyes_of(self, extractor: Extractor) -> bool:
        """Whether the judge looks at pictures through just this extractor."""
        return (self._eyes.name, self._eyes.weights_sha256) == (extractor.name, extractor.weights_sha256)

    def _look(self, images_NHWC: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self._think(self._eyes.features(images_NHWC))

    def _think(self, features_ND: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with torch.inference_mode():
            hidden_NK, logits_NA = self._head(torch.from_numpy(features_ND))
        return hidden_NK.numpy(), logits_NA.numpy()


class Head(nn.Module):
    """What the judge adds to the features it looks through: N x D -> hidden layer N x K and logits N x A."""

    mean_D: Tensor
    deviation_D: Tensor

    def __init__(self, dimension: int, hidden: int, attributes: int) -> None:
        super().__init__()
        self.register_buffer("mean_D", torch.zeros(dimension))
        self.register_buffer("deviation_D", torch.ones(dimension))
        self.hidden = nn.Linear(dimension, hidden)
        self.logits = nn.Linear(hidden, attributes)

    def forward(self, features_ND: Tensor) -> tuple[Tensor, Tensor]:
        x_ND = (features_ND - self.mean_D) / self.deviation_D
        hidden_NK = F.gelu(self.hidden(F.dropout(x_ND, DROPOUT_FEATURES, self.training)))
        return hidden_NK, self.logits(F.dropout(hidden_NK, DROPOUT_HIDDEN, self.training))


class AttributeControl(NamedTuple):
    """How well a conditional generator does what it is asked for, as far as the judge can see.

    A generator that ignores what it is asked for has a balanced accuracy of 0.5, so its ratio is about 0.6, not 0.
    """

    attribute_names: tuple[str, ...]
    accuracy_A: NDArray[np.float64]
    """Balanced accuracy of what the judge finds against what was asked for; nan where a class was never asked for."""
    ceiling_A: NDArray[np.float64]
    """The judge's own balanced accuracy on held-out real pictures; nan where that is not known."""
    ratio_A: NDArray[np.float64]
    """Accuracy / ceiling; over 1 where generated pictures show what they are asked for more plainly than real ones."""
    mean_ratio: float
    """Over the attributes whose ratio is known; nan where none is."""
    rarest: tuple[str, ...]
    """The ten attributes (all, where there are fewer) that fewest real pictures have, rarest first."""
    mean_ratio_rarest: float


def attribute_control(
    asked_NA: NDArray[np.uint8], found_NA: NDArray[np.uint8], judge: Judge, frequencies_A: NDArray[np.float64]
) -> AttributeControl:
    """Compare what a generator was asked for with what the judge finds in its pictures (`judge.decide`).

    `asked_NA` and `frequencies_A` are in the order of `judge.attribute_names`. A frequency is the share of the data
    set's pictures that have the attribute, and inf for one that cannot be asked for. The rarest are those with the
    lowest share: `No_Beard`, which few pictures lack, is not among them.
    """
    names = judge.attribute_names
    accuracy_A = balanced_accuracy(asked_NA, found_NA)
    ceiling_A = np.array([judge.balanced_accuracy[name] for name in names])
    ratio_A = accuracy_A / ceiling_A
    rarest = np.argsort(frequencies_A, kind="stable")[: min(RAREST, np.isfinite(frequencies_A).sum())]
    return AttributeControl(
        attribute_names=names,
        accuracy_A=accuracy_A,
        ceiling_A=ceiling_A,
        ratio_A=ratio_A,
        mean_ratio=_known_mean(ratio_A),
        rarest=tuple(names[position] for position in rarest),
        mean_ratio_rarest=_known_mean(ratio_A[rarest]),
    )


def balanced_accuracy(asked_NA: NDArray[np.uint8], found_NA: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The mean of sensitivity and specificity of each attribute, A values of 0 to 1; 0.5 for mere guessing.

    nan where `asked_NA` lacks one of the two classes.
    """
    asked, found = asked_NA.astype(bool), found_NA.astype(bool)
    with np.errstate(invalid="ignore"):
        sensitivity_A = (asked & found).sum(axis=0) / asked.sum(axis=0)
        specificity_A = (~asked & ~found).sum(axis=0) / (~asked).sum(axis=0)
    mean_A: NDArray[np.float64] = (sensitivity_A + specificity_A) / 2
    return mean_A


def load_judge(path: Path | None = None, device: str = "cpu") -> Judge:
    """The judge in the folder `path`; by default the one that ships with Limner, for CelebA of 64 x 64, crop report004.

    Raises UserError where there is none, its files are damaged, or `lite0` is not the one it learned with.
    """
    folder = SHIPPED if path is None else Path(path)
    config = _read_config(folder)
    weights = folder / WEIGHTS
    if not weights.is_file() or sha256(weights) != config.weights_sha256:
        raise UserError(f"{weights} is missing or damaged (its checksum is not the one in {CONFIG}): {MEND}.")
    head = Head(config.dimension, config.hidden, len(config.attribute_names))
    try:
        head.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError):
        raise UserError(f"{weights} does not hold the judge that {folder / CONFIG} describes: {MEND}.") from None
    eyes = load_extractor(config.extractor, device=device)
    if eyes.weights_sha256 != config.extractor_sha256:
        raise UserError(f"{folder} was trained with other weights of {config.extractor} than are here: {MEND}.")
    return Judge(config, head, eyes)


@checked
@sole_training()
def train_judge(
    data: PackedFaces | str | Path, out: str | Path, *, seed: int = 0, force: bool = False, quiet: bool = False
) -> Judge:
    """Train a judge on the split `train` of `data`, measure it on the split `test`, and write the folder `out`.

    Any data set with attributes will do. An attribute that every training picture has, or none, cannot be learned: the
    judge keeps its place, always decides the same, and its accuracy is nan (as it is where the test pictures lack a
    class). The same seed on the same machine gives the same weights.

    Raises:
        UserError: the data have no attributes or no test pictures, or `out` exists (without `force`).
    """
    faces = data if isinstance(data, PackedFaces) else PackedFaces.open(data)
    out = Path(out)
    if seed < 0:
        raise UserError(f"--seed is {seed}; it must be at least 0.")
    if not faces.attribute_names:
        raise UserError(
            f"{faces.path} has no attributes, so there is nothing to judge: prepare pictures with --labels."
        )
    train, test = faces.rows("train"), faces.rows("test")
    _check_room(out, force)

    eyes = load_extractor(EYES)
    with progress_bar("looking", 2 * len(train) + len(test), "pictures", quiet) as advance:
        views_VND = np.stack([_see(eyes, faces, train, mirrored, advance) for mirrored in (False, True)])
        test_MD = _see(eyes, faces, test, False, advance)
    with progress_bar("learning", MEMBERS * EPOCHS, "epochs", quiet) as advance, torch.random.fork_rng(devices=[]):
        head = _train_head(torch.from_numpy(views_VND), torch.from_numpy(faces.attributes_NA[train]), seed, advance)

    with torch.inference_mode():
        found_MA = (head(torch.from_numpy(test_MD))[1] > 0).numpy().astype(np.uint8)
    accuracy_A = balanced_accuracy(faces.attributes_NA[test], found_MA)
    constant_A = np.ptp(faces.attributes_NA[train], axis=0) == 0
    machine = machine_facts(torch.device("cpu"))
    with new_folder(out) as beside:
        write_file(beside / WEIGHTS, save(head.state_dict(), metadata={"format": "pt"}))
        config = JudgeConfig(
            attribute_names=faces.attribute_names,
            balanced_accuracy={
                name: None if unknown else round(float(accuracy), 6)
                for name, accuracy, unknown in zip(
                    faces.attribute_names, accuracy_A, constant_A | np.isnan(accuracy_A), strict=True
                )
            },
            extractor_sha256=eyes.weights_sha256,
            dimension=eyes.dimension,
            hidden=MEMBERS * UNITS,
            size=faces.size,
            crop=faces.info.crop.preset if faces.info.crop else "none",
            data=faces.info.source.name,
            content_hash=faces.info.content_hash,
            train_pictures=len(train),
            heldout_pictures=len(test),
            seed=seed,
            command=f"limner judge train {faces.path.name} --out {out.name} --seed {seed}",
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            machine=f"CPU, {machine['processor']}, {machine['cores']} cores",
            licence=faces.info.source.licence,
            weights_sha256=sha256(beside / WEIGHTS),
        )
        write_file(beside / CONFIG, (config.model_dump_json(indent=1) + "\n").encode())
        write_file(beside / CARD, _card(config).encode())
    return Judge(config, head, eyes)


def _see(
    eyes: Extractor, faces: PackedFaces, rows: NDArray[np.int64], mirrored: bool, advance: Callable[[int], None]
) -> NDArray[np.float32]:
    features_ND = np.empty((len(rows), eyes.dimension), np.float32)
    for start in range(0, len(rows), PORTION):
        some = slice(start, start + PORTION)
        images_NHWC = faces.images_NHWC[rows[some]]
        if mirrored:
            images_NHWC = np.ascontiguousarray(images_NHWC[:, :, ::-1])
        features_ND[some] = eyes.features(images_NHWC)
        advance(len(images_NHWC))
    return features_ND


def _train_head(views_VND: Tensor, y_NA: Tensor, seed: int, advance: Callable[[int], None]) -> Head:
    """The mean of the members, from the features of each picture as it is and mirrored."""
    V, N, D = views_VND.shape
    fold_N = torch.from_numpy(stream(seed, "judge folds").permutation(N) % MEMBERS)
    mean_D = views_VND.mean(dim=(0, 1))
    # Where a feature hardly varies, its small differences are noise and must not be blown up.
    deviation_D = views_VND.std(dim=(0, 1)).clamp(min=0.01)

    members = []
    for member in range(MEMBERS):
        kept = fold_N != member
        torch.manual_seed(torch_seed(seed, "judge", member))
        head = Head(D, UNITS, y_NA.shape[1])
        head.mean_D, head.deviation_D = mean_D, deviation_D
        _train_member(head, views_VND, y_NA, torch.where(kept)[0], advance)
        with torch.inference_mode():
            logits_NA = torch.cat([head(view_ND[~kept])[1] for view_ND in views_VND])
        head.logits.bias.data -= _dividing_lines(logits_NA, y_NA[~kept].repeat(V, 1))
        members.append(head)

    joined = Head(D, MEMBERS * UNITS, y_NA.shape[1])
    joined.mean_D, joined.deviation_D = mean_D, deviation_D
    joined.hidden.weight.data = torch.cat([head.hidden.weight.data for head in members])
    joined.hidden.bias.data = torch.cat([head.hidden.bias.data for head in members])
    joined.logits.weight.data = torch.cat([head.logits.weight.data for head in members], dim=1) / MEMBERS
    joined.logits.bias.data = torch.stack([head.logits.bias.data for head in members]).mean(dim=0)
    return joined.eval()


def _train_member(head: Head, views_VND: Tensor, y_NA: Tensor, rows: Tensor, advance: Callable[[int], None]) -> None:
    """Train `head` on `rows`, on either view of a picture by chance."""
    share_A = y_NA[rows].float().mean(dim=0).clamp(1 / len(rows), 1 - 1 / len(rows))
    batch = min(BATCH, len(rows))
    steps = len(rows) // batch
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * steps, pct_start=0.1)
    for _ in range(EPOCHS):
        order = rows[torch.randperm(len(rows))]
        for rows_B in order[: steps * batch].view(steps, batch):
            y_BA = y_NA[rows_B].float()
            _, logits_BA = head(views_VND[torch.randint(len(views_VND), (batch,)), rows_B])
            # Both classes of an attribute weigh the same in all, however few the pictures of one are.
            loss_BA = -(
                y_BA * F.logsigmoid(logits_BA) / share_A + (1 - y_BA) * F.logsigmoid(-logits_BA) / (1 - share_A)
            )
            optimizer.zero_grad()
            torch.autograd.backward(loss_BA.mean() / 2)
            optimizer.step()
            schedule.step()
        advance(1)
    head.eval()


def _dividing_lines(logits_NA: Tensor, y_NA: Tensor) -> Tensor:
    """A logits, above which to decide for an attribute: of the best balanced accuracy; 0 where a class is missing.

    Of the lines that are as good but for chance, the middle one is taken.
    """
    order_NA = logits_NA.argsort(dim=0, descending=True)
    sorted_NA, hits_NA = logits_NA.gather(0, order_NA), y_NA.gather(0, order_NA).double()
    sensitivity_NA = hits_NA.cumsum(0) / hits_NA.sum(0)
    false_alarms_NA = (1 - hits_NA).cumsum(0) / (1 - hits_NA).sum(0)
    quality_NA = (sensitivity_NA - false_alarms_NA)[:-1]
    good_NA = quality_NA >= quality_NA.amax(dim=0) - 2 * BY_CHANCE
    lines_NA = (sorted_NA[:-1] + sorted_NA[1:]) / 2
    line_A = torch.stack([lines_N[good_N].median() for lines_N, good_N in zip(lines_NA.T, good_NA.T, strict=True)])
    return line_A.nan_to_num(0.0)


def _card(config: JudgeConfig) -> str:
    rows = "\n".join(
        f"| {name} | {'not known' if accuracy is None else f'{accuracy:.3f}'} |"
        for name, accuracy in config.balanced_accuracy.items()
    )
    return f"""---
library_name: limner
license: other
tags: [faces, attributes, image-classification]
---
# A judge of {len(config.attribute_names)} attributes of faces, made with Limner

Decides which attributes a picture of a face has. It measures generators and takes no part in training any.

| | |
|---|---|
| data | {config.data}, {config.size} x {config.size}, crop {config.crop} |
| content hash | {config.content_hash} |
| trained on | the training split alone, {config.train_pictures:,} pictures, each also mirrored |
| measured on | the {config.heldout_pictures:,} pictures of the test split, which it never saw |
| network | `{config.extractor}`, as it is; on its {config.dimension} features one hidden layer of {config.hidden} |
| command | `{config.command}` |
| date | {config.date} |
| machine | {config.machine} |
| Limner | {config.limner_version} |
| licence of the weights | {config.licence} |

Its numbers hold for pictures prepared as those it learned from. It repeats what the people who labelled them
believed to see; it says nothing true about any person, and is not to be used to judge people.

| attribute | balanced accuracy on test pictures |
|---|---|
{rows}
"""


def _read_config(folder: Path) -> JudgeConfig:
    file = folder / CONFIG
    try:
        if file.stat().st_size > MAX_CONFIG_BYTES:
            raise UserError(f"{file} is larger than {MAX_CONFIG_BYTES:,} bytes: that is no judge's config.")
        return JudgeConfig.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{file} cannot be used, {where}: {first['msg']}; {MEND}.") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): {MEND}.") from None


def _check_room(out: Path, force: bool) -> None:
    if not out.exists():
        return
    if not force:
        raise UserError(f"{out} exists: choose another --out, or replace it with --force.")
    try:
        _read_config(out)
    except UserError:
        raise UserError(f"{out} is not a judge; --force replaces nothing else: choose another --out.") from None


def _known_mean(values_A: NDArray[np.float64]) -> float:
    known = values_A[~np.isnan(values_A)]
    return float(known.mean()) if len(known) else float("nan")
