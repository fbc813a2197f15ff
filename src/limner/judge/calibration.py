"""What a judge's outputs mean as labels: thresholds and probabilities, fitted on `val` and measured on `test`.

The judge's own thresholds have the best balanced accuracy. As labels they would give a rare attribute to several times
as many images as have it. Here the threshold of an attribute is where as many images of `val` are above it as have the
attribute, so that labels are as frequent as the attributes, and as many are missed as are given wrongly.

Probabilities are a sigmoid of the logit with a slope and an offset, fitted by maximum likelihood (Platt 1999).
Shapes: N images, A attributes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from limner.core.console import progress_bar
from limner.core.files import write_file
from limner.core.optimizers import LBFGS
from limner.core.records import read_record
from limner.data.packed import PackedFaces
from limner.features.extractor import extract
from limner.judge.control import balanced_accuracy
from limner.judge.judge import MEND, Judge, JudgeConfig

CALIBRATION = "calibration.json"
DOUBTFUL = 0.7  # of balanced accuracy
PRIOR = 1e-5  # weight of the squared slope and offset, so that they stay finite where `val` is separated perfectly


class AttributeCalibration(BaseModel):
    """Of one attribute: the threshold, how probable a logit makes it, and how often such labels are right on `test`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    threshold: float
    """Of the logit."""
    slope: float
    offset: float
    val_frequency: float = Field(ge=0, le=1)
    test_frequency: float = Field(ge=0, le=1)
    agreement: float = Field(ge=0, le=1)
    """Fraction of the test images whose label is the true one."""
    balanced_accuracy: float | None = Field(ge=0, le=1)
    precision: float | None = Field(ge=0, le=1)
    """Fraction of the test images with the label that have the attribute; `None` where there are none."""
    recall: float | None = Field(ge=0, le=1)
    """Fraction of the test images with the attribute that have the label."""

    @property
    def doubtful(self) -> bool:
        """Whether the judge is no good at this attribute, or nobody knows."""
        return self.balanced_accuracy is None or self.balanced_accuracy < DOUBTFUL


class Calibration(BaseModel):
    """calibration.json, beside the weights of the judge that it belongs to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["limner judge calibration"] = "limner judge calibration"
    judge_sha256: str
    content_hash: str
    """Of the data set."""
    val_images: int
    test_images: int
    attributes: dict[str, AttributeCalibration]

    def labels(self, logits_NA: NDArray[np.float32]) -> NDArray[np.uint8]:
        """N x A, 1 where an image is labelled with the attribute."""
        return (logits_NA > self._column("threshold")).astype(np.uint8)

    def probabilities(self, logits_NA: NDArray[np.float32]) -> NDArray[np.float32]:
        """N x A, 0 to 1: how probable the attribute is where it is as frequent as in the data of the calibration."""
        z_NA = torch.from_numpy(logits_NA * self._column("slope") + self._column("offset"))
        return z_NA.sigmoid().numpy()

    def _column(self, name: str) -> NDArray[np.float32]:
        return np.array([getattr(attribute, name) for attribute in self.attributes.values()], np.float32)


class Labelled(NamedTuple):
    """The judge's logits of the images of a split, and their true attributes, both N x A."""

    logits_NA: NDArray[np.float32]
    y_NA: NDArray[np.uint8]


def calibrate(judge: Judge, faces: PackedFaces, quiet: bool = False) -> Calibration:
    """Fit thresholds and probabilities on the split `val` of `faces`, and measure the labels on its split `test`.

    The judge must have seen neither in its training. Raises UserError where a split is missing.
    """
    rows = {split: faces.rows(split) for split in ("val", "test")}
    with progress_bar("calibration", sum(map(len, rows.values())), "images", quiet) as advance:
        val, test = (
            Labelled(judge_logits(judge, faces, of_split, advance), faces.attributes_NA[of_split])
            for of_split in rows.values()
        )
    return fit_calibration(judge.config, faces.info.content_hash, val, test)


def fit_calibration(judge: JudgeConfig, content_hash: str, val: Labelled, test: Labelled) -> Calibration:
    """The calibration of a judge on the data of this hash: fitted on `val`, measured on `test`."""
    frequency_A = val.y_NA.mean(axis=0)
    slope_A, offset_A = fit_sigmoids(*val)
    threshold_A = frequency_thresholds(val.logits_NA, frequency_A)
    measured = measure_labels(test.logits_NA > threshold_A, test.y_NA)
    return Calibration(
        judge_sha256=judge.weights_sha256,
        content_hash=content_hash,
        val_images=len(val.y_NA),
        test_images=len(test.y_NA),
        attributes={
            name: AttributeCalibration(
                threshold=float(threshold_A[column]),
                slope=float(slope_A[column]),
                offset=float(offset_A[column]),
                val_frequency=float(frequency_A[column]),
                **{key: _known(values_A[column]) for key, values_A in measured.items()},
            )
            for column, name in enumerate(judge.attribute_names)
        },
    )


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Write it beside the judge in `folder`."""
    write_file(folder / CALIBRATION, (calibration.model_dump_json(indent=1) + "\n").encode())


def read_calibration(folder: Path) -> Calibration:
    """The calibration of the judge in `folder`; raises UserError where there is none."""
    return read_record(folder / CALIBRATION, Calibration, MEND)


def judge_logits(
    judge: Judge, faces: PackedFaces, rows: NDArray[np.int64], advance: Callable[[int], None]
) -> NDArray[np.float32]:
    """The judge's logits of the images in `rows`, N x A."""
    features_ND = np.empty((len(rows), judge.backbone.dimension), np.float32)
    extract(judge.backbone, faces, rows, features_ND, advance)
    return judge.logits(features_ND)


def frequency_thresholds(logits_NA: NDArray[np.float32], frequency_A: NDArray[np.float64]) -> NDArray[np.float32]:
    """A thresholds that `frequency_A` of the logits are above; 0 for an attribute that all images have, or none."""
    pairs = zip(logits_NA.T, frequency_A, strict=True)
    return np.array(
        [np.quantile(logits_N, 1 - frequency) if 0 < frequency < 1 else 0.0 for logits_N, frequency in pairs],
        np.float32,
    )


def fit_sigmoids(logits_NA: NDArray[np.float32], y_NA: NDArray[np.uint8]) -> tuple[NDArray[np.float64], ...]:
    """Slopes and offsets, A each, with which sigmoid(slope * logit + offset) is most likely for the labels `y_NA`."""
    x_NA, targets_NA = torch.from_numpy(logits_NA).double(), torch.from_numpy(y_NA).double()
    fit_2A = torch.stack([torch.ones(x_NA.shape[1]), torch.zeros(x_NA.shape[1])]).double().requires_grad_()
    optimizer = LBFGS([fit_2A], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        nll = F.binary_cross_entropy_with_logits(fit_2A[0] * x_NA + fit_2A[1], targets_NA, reduction="sum")
        total = nll / len(x_NA) + PRIOR * (fit_2A - torch.tensor([[1.0], [0.0]])).square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    slope_A, offset_A = fit_2A.detach().numpy()
    return slope_A, offset_A


def measure_labels(labels_NA: NDArray[Any], y_NA: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    """How labels compare with the true ones `y_NA`: of each attribute, A values; nan where nothing can be said."""
    labels, true = labels_NA.astype(bool), y_NA.astype(bool)
    with np.errstate(invalid="ignore"):
        hits_A = (labels & true).sum(axis=0)
        return {
            "test_frequency": true.mean(axis=0),
            "agreement": (labels == true).mean(axis=0),
            "balanced_accuracy": balanced_accuracy(y_NA, labels.astype(np.uint8)),
            "precision": hits_A / labels.sum(axis=0),
            "recall": hits_A / true.sum(axis=0),
        }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
