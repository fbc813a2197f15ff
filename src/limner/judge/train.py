"""Training a judge of attributes: `limner judge train`.

Shapes: N images, V views of each (as it is, and mirrored), D features, A attributes, L val images,
M test images.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

from limner.core.arguments import checked
from limner.core.console import progress_bar
from limner.core.device import machine_facts
from limner.core.errors import UserError
from limner.core.files import new_folder, sha256, write_file
from limner.core.optimizers import AdamW
from limner.core.randomness import sole_training, stream, torch_seed
from limner.core.records import check_folder
from limner.data.packed import PackedFaces
from limner.features.efficientnet_lite import Lite0
from limner.features.extractor import extract
from limner.judge.calibration import Labelled, fit_calibration, write_calibration
from limner.judge.control import balanced_accuracy
from limner.judge.judge import CARD, CONFIG, WEIGHTS, Head, Judge, JudgeConfig, card_of

# The judge is the mean of members, each trained without another fifth of the training split, on which its dividing
# lines are then chosen. A mean of networks with one hidden layer is again one with one hidden layer.
MEMBERS, UNITS = 5, 128
EPOCHS, BATCH = 20, 256
LR, WEIGHT_DECAY = 1e-3, 1e-2
TOLERANCE = 0.002  # of balanced accuracy


@checked
@sole_training()
def train_judge(
    data: PackedFaces | str | Path, out: str | Path, *, seed: int = 0, force: bool = False, quiet: bool = False
) -> Judge:
    """Train a judge on the split `train` of `data`, measure it on the split `test`, and write the folder `out`.

    Where there is a split `val`, the thresholds of `limner label` are fitted on it (see `limner.judge.calibration`).

    Any data set with attributes will do. An attribute that every training image has, or none, cannot be learned: the
    judge keeps its place, always decides the same, and its accuracy is nan (as it is where the test images lack a
    class). The same seed on the same machine gives the same weights.

    Raises:
        UserError: the data have no attributes or no test images, or `out` exists (without `force`).
    """
    faces = data if isinstance(data, PackedFaces) else PackedFaces.open(data)
    out = Path(out)
    if seed < 0:
        raise UserError(f"--seed is {seed}; it must be at least 0.")
    if not faces.attribute_names:
        raise UserError(f"{faces.path} has no attributes, so there is nothing to judge: prepare images with --labels.")
    train, test = faces.rows("train"), faces.rows("test")
    check_folder(out, force, CONFIG, JudgeConfig, "a judge")

    val = np.flatnonzero(faces.splits == "val")
    backbone = Lite0()
    with progress_bar("features", 2 * len(train) + len(val) + len(test), "images", quiet) as advance:
        views_VND = np.empty((2, len(train), backbone.dimension), np.float32)
        val_LD, test_MD = (np.empty((len(rows), backbone.dimension), np.float32) for rows in (val, test))
        extract(backbone, faces, train, views_VND[0], advance)
        extract(backbone, faces, train, views_VND[1], advance, mirrored=True)
        extract(backbone, faces, val, val_LD, advance)
        extract(backbone, faces, test, test_MD, advance)
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
            extractor_sha256=backbone.weights_sha256,
            dimension=backbone.dimension,
            hidden=MEMBERS * UNITS,
            size=faces.size,
            crop=faces.info.crop.preset if faces.info.crop else "none",
            data=faces.info.source.name,
            content_hash=faces.info.content_hash,
            train_images=len(train),
            heldout_images=len(test),
            seed=seed,
            command=f"limner judge train {faces.path.name} --out {out.name} --seed {seed}",
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            machine=f"CPU, {machine['processor']}, {machine['cores']} cores",
            licence=faces.info.source.licence,
            weights_sha256=sha256(beside / WEIGHTS),
        )
        write_file(beside / CONFIG, (config.model_dump_json(indent=1) + "\n").encode())
        write_file(beside / CARD, card_of(config).encode())
        judge = Judge(config, head, backbone)
        if len(val):
            found = (
                Labelled(judge.logits(x_ND), faces.attributes_NA[rows])
                for x_ND, rows in ((val_LD, val), (test_MD, test))
            )
            write_calibration(beside, fit_calibration(config, faces.info.content_hash, *found))
    return judge


def _train_head(views_VND: Tensor, y_NA: Tensor, seed: int, advance: Callable[[int], None]) -> Head:
    """The mean of the members, from the features of each image as it is and mirrored."""
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
        head.logits.bias.data -= best_thresholds(logits_NA, y_NA[~kept].repeat(V, 1))
        members.append(head)

    joined = Head(D, MEMBERS * UNITS, y_NA.shape[1])
    joined.mean_D, joined.deviation_D = mean_D, deviation_D
    joined.hidden.weight.data = torch.cat([head.hidden.weight.data for head in members])
    joined.hidden.bias.data = torch.cat([head.hidden.bias.data for head in members])
    joined.logits.weight.data = torch.cat([head.logits.weight.data for head in members], dim=1) / MEMBERS
    joined.logits.bias.data = torch.stack([head.logits.bias.data for head in members]).mean(dim=0)
    return joined.eval()


def _train_member(head: Head, views_VND: Tensor, y_NA: Tensor, rows: Tensor, advance: Callable[[int], None]) -> None:
    """Train `head` on `rows`, on a random view of each image."""
    share_A = y_NA[rows].float().mean(dim=0).clamp(1 / len(rows), 1 - 1 / len(rows))
    batch = min(BATCH, len(rows))
    steps = len(rows) // batch
    optimizer = AdamW(head.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=EPOCHS * steps, pct_start=0.1)
    for _ in range(EPOCHS):
        order = rows[torch.randperm(len(rows))]
        for rows_B in order[: steps * batch].view(steps, batch):
            y_BA = y_NA[rows_B].float()
            _, logits_BA = head(views_VND[torch.randint(len(views_VND), (batch,)), rows_B])
            # Both classes of an attribute weigh the same in all, however few the images of one are.
            loss_BA = -(
                y_BA * F.logsigmoid(logits_BA) / share_A + (1 - y_BA) * F.logsigmoid(-logits_BA) / (1 - share_A)
            )
            optimizer.zero_grad()
            torch.autograd.backward(loss_BA.mean() / 2)
            optimizer.step()
            schedule.step()
        advance(1)
    head.eval()


def best_thresholds(logits_NA: Tensor, y_NA: Tensor) -> Tensor:
    """A logits, above which to decide for an attribute: of the best balanced accuracy; 0 where a class is missing.

    Of the lines that are as good within their spread, the middle one is taken.
    """
    order_NA = logits_NA.argsort(dim=0, descending=True)
    sorted_NA, hits_NA = logits_NA.gather(0, order_NA), y_NA.gather(0, order_NA).double()
    sensitivity_NA = hits_NA.cumsum(0) / hits_NA.sum(0)
    false_alarms_NA = (1 - hits_NA).cumsum(0) / (1 - hits_NA).sum(0)
    quality_NA = (sensitivity_NA - false_alarms_NA)[:-1]
    good_NA = quality_NA >= quality_NA.amax(dim=0) - 2 * TOLERANCE
    lines_NA = (sorted_NA[:-1] + sorted_NA[1:]) / 2
    line_A = torch.stack([lines_N[good_N].median() for lines_N, good_N in zip(lines_NA.T, good_NA.T, strict=True)])
    return line_A.nan_to_num(0.0)
