"""The judge: which attributes an image of a face has, to check what a conditional generator was conditioned on.

Its backbone is `lite0` (`limner.features.efficientnet_lite`), frozen; its head is one hidden layer and a logit for
each attribute. The loss weighs the two classes of each attribute alike, however rare one is. The logits are shifted so
that 0 is the line that divides best a part of the training split that they were not trained on. The test split serves
to measure its own accuracy, the ceiling of what a generator can be found to do, and nothing else.

Shapes: N images, H and W their height and width, D features of `lite0`, K hidden units, A attributes.
"""

from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from limner.core.arguments import checked
from limner.core.errors import UserError
from limner.core.records import check_sum, read_record
from limner.core.version import __version__
from limner.core.weights import BoundedBy
from limner.features.efficientnet_lite import Lite0
from limner.features.extractor import Extractor

ASSETS = Path(__file__).resolve().parents[1] / "assets"
SHIPPED = ASSETS / "judge"
SHIPPED_128 = ASSETS / "judge128"
WEIGHTS, CONFIG, CARD = "judge.safetensors", "config.json", "README.md"
BACKBONE: Literal["lite0"] = "lite0"

DROPOUT_FEATURES, DROPOUT_HIDDEN = 0.2, 0.5
MEND = "train it again with limner judge train, or install Limner again"


class JudgeConfig(BaseModel):
    """config.json: what the judge decides, what it was made of, and how often it is right."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["limner judge"] = "limner judge"
    format_version: Literal[1] = 1
    limner_version: str = __version__
    attribute_names: tuple[str, ...] = Field(min_length=1, max_length=4096)
    balanced_accuracy: dict[str, float | None]
    """On the held-out images; `None` where it is not known."""
    extractor: Literal["lite0"] = BACKBONE
    extractor_sha256: str
    dimension: int = Field(ge=1, le=1 << 16)
    hidden: int = Field(ge=1, le=1 << 16)
    size: int
    """Width and height of the images it learned from."""
    crop: str
    data: str
    content_hash: str
    train_images: int
    heldout_images: int
    """Test images, on which it was measured."""
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
    """Decides the attributes of images. Also an `Extractor`, whose features are its hidden layer."""

    name = "judge"

    def __init__(self, config: JudgeConfig, head: "Head", backbone: Extractor) -> None:
        self.config = config
        self.weights_sha256 = config.weights_sha256
        self.dimension = config.hidden
        self.resize = backbone.resize
        self._head = head.eval().requires_grad_(False)
        self.backbone = backbone

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """A names, in the order of every array of attributes here."""
        return self.config.attribute_names

    @property
    def balanced_accuracy(self) -> dict[str, float]:
        """Its own, 0 to 1, on held-out real images; nan where these lack one of the two classes."""
        return {name: float("nan") if of is None else of for name, of in self.config.balanced_accuracy.items()}

    @checked
    def features(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The hidden layer for any number of RGB images: uint8 N x H x W x 3 -> N x K."""
        return self._look(images_NHWC)[0]

    @checked
    def log_odds(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """N x A, over 0 where the judge decides for the attribute."""
        return self._look(images_NHWC)[1]

    @checked
    def probabilities(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """N x A, 0 to 1, over 0.5 where the judge decides for the attribute.

        They are those of a world in which every attribute is as often there as not.
        """
        return torch.from_numpy(self._look(images_NHWC)[1]).sigmoid().numpy()

    @checked
    def decide(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """N x A, 1 where the image has the attribute."""
        return self.decide_by(self.backbone.features(images_NHWC))

    @checked
    def decide_by(self, features_ND: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The same from the features of an extractor with the judge's backbone (`shares_backbone_with`)."""
        return (self._think(features_ND)[1] > 0).astype(np.uint8)

    @checked
    def logits(self, features_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """N x A logits from features of the backbone, above 0 where the judge decides for the attribute."""
        return self._think(features_ND)[1]

    @checked
    def shares_backbone_with(self, extractor: Extractor) -> bool:
        """Whether this extractor is the judge's backbone, with the same weights."""
        return (self.backbone.name, self.backbone.weights_sha256) == (extractor.name, extractor.weights_sha256)

    def _look(self, images_NHWC: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self._think(self.backbone.features(images_NHWC))

    def _think(self, features_ND: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if features_ND.shape[1] != self.backbone.dimension:
            raise UserError(f"features_ND has {features_ND.shape[1]} columns; it must have {self.backbone.dimension}.")
        with torch.inference_mode():
            hidden_NK, logits_NA = self._head(torch.from_numpy(features_ND))
        return hidden_NK.numpy(), logits_NA.numpy()


class Head(nn.Module):
    """The head of the judge: N x D -> hidden layer N x K and logits N x A."""

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


@checked
def load_judge(path: str | Path | None = None, device: str = "cpu") -> Judge:
    """The judge in the folder `path`; by default the one that ships with Limner, for CelebA of 64 x 64, crop report004.

    Raises UserError where there is none, its files are damaged, or `lite0` is not the one it learned with.
    """
    folder = SHIPPED if path is None else Path(path)
    config = read_record(folder / CONFIG, JudgeConfig, MEND)
    weights = folder / WEIGHTS
    check_sum(weights, config.weights_sha256, MEND)
    try:
        with BoundedBy(weights):
            head = Head(config.dimension, config.hidden, len(config.attribute_names))
        head.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError):
        raise UserError(f"{weights} does not hold the judge that {folder / CONFIG} describes: {MEND}.") from None
    backbone = Lite0(device=device)
    if backbone.weights_sha256 != config.extractor_sha256:
        raise UserError(f"{folder} was trained with other weights of {config.extractor} than are here: {MEND}.")
    return Judge(config, head, backbone)


def shipped_judge(size: int) -> Path:
    """The folder of the judge that ships for images of this width and height: of 64 and 128 pixels the nearer one."""
    return SHIPPED if size <= 64 else SHIPPED_128


def card_of(config: JudgeConfig) -> str:
    """The README of a judge's folder."""
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

Decides which attributes an image of a face has. It measures generators and takes no part in training any.

| | |
|---|---|
| data | {config.data}, {config.size} x {config.size}, crop {config.crop} |
| content hash | {config.content_hash} |
| trained on | the training split alone, {config.train_images:,} images, each also mirrored |
| measured on | the {config.heldout_images:,} images of the test split, which it never saw |
| network | `{config.extractor}`, as it is; on its {config.dimension} features one hidden layer of {config.hidden} |
| command | `{config.command}` |
| date | {config.date} |
| machine | {config.machine} |
| Limner | {config.limner_version} |
| licence of the weights | {config.licence} |

Its numbers hold for images prepared as those it learned from. It repeats what the people who labelled them
believed to see; it says nothing true about any person, and is not to be used to judge people.

| attribute | balanced accuracy on test images |
|---|---|
{rows}
"""
