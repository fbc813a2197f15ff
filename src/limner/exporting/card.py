"""The cards of a model and of its page on the Hugging Face Hub: metadata as the Hub reads them, and words."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from limner.evaluation.results import Result
from limner.model.model import ModelConfig
from limner.model.output import OUTPUTS

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

TASK = "unconditional-image-generation"
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def model_card(config: ModelConfig, text: str, results: Sequence[Result], repo: str, has_onnx: bool) -> str:
    """The README.md of a model's repository; `text` is the card in the model's folder, whose words are kept."""
    from huggingface_hub import ModelCardData

    things = OUTPUTS[config.kind].things
    data = ModelCardData(
        **_licence(config.licence),
        library_name="limner",
        pipeline_tag=TASK,
        tags=["gan", "image-generation", things, *(["onnx"] if has_onnx else [])],
        model_name=repo.rpartition("/")[2],
        eval_results=[_eval_result(config, result) for result in results] or None,
    )
    body = FRONT_MATTER.sub("", text).rstrip()
    samples = f"## Samples\n\n![Generated {things}](samples.png)"
    parts = [f"---\n{data.to_yaml()}\n---", body, samples, _use(repo, has_onnx)]
    if results and "## What it reaches" not in body:
        parts.append(_metrics(results))
    return "\n\n".join(parts) + "\n"


def space_card(config: ModelConfig, repo: str) -> str:
    """The README.md of the Space that shows a model's page."""
    from huggingface_hub import SpaceCardData

    data = SpaceCardData(
        **_licence(config.licence),
        title=f"{repo.rpartition('/')[2]}: {OUTPUTS[config.kind].things} in your browser",
        emoji="🖼️",
        colorFrom="blue",
        colorTo="gray",
        sdk="static",
        app_file="index.html",
        models=[repo],
    )
    return f"---\n{data.to_yaml()}\n---\n\nThe page of `{repo}`. It computes in your browser.\n"


def _licence(licence: str) -> dict[str, Any]:
    """How the Hub names a licence: by SPDX's identifier, or as another one with a name and a link."""
    if re.fullmatch(r"[\w.+-]+", licence):
        return {"license": licence.lower()}
    link = re.search(r"https?://[^\s)]+", licence)
    name = re.sub(r"\W+", "-", licence.partition("(")[0].lower()).strip("-")
    return {"license": "other", "license_name": name} | ({"license_link": link[0]} if link else {})


def _eval_result(config: ModelConfig, result: Result) -> "EvalResult":
    from huggingface_hub import EvalResult

    data = str(config.data.get("name", "images"))
    return EvalResult(
        task_type=TASK,
        dataset_type=data,
        dataset_name=f"{data} at {result.resolution} pixels, protocol {result.protocol}",
        dataset_split=result.split,
        metric_type=result.metric,
        metric_name=result.metric,
        metric_value=float(f"{result.value:.6g}"),
    )


def _use(repo: str, has_onnx: bool) -> str:
    commands = f"    pip install 'limner[hub]'\n    limner sample {repo}@main --out samples.png"
    onnx = (
        "`model.onnx` needs onnxruntime alone: `latents` (N x Z) and, where the model has attributes, `attributes` "
        "(N x A, 0 or 1) give `images` (N x 3 x H x W in [0, 1]). Its metadata name attributes and distribution."
    )
    return "\n\n".join(["## Use", commands, *([onnx] if has_onnx else [])])


def _metrics(results: Sequence[Result]) -> str:
    rows = [
        f"| `{one.metric}` | {one.value:.4g} | {one.protocol}, {one.n_fake:,} generated, split {one.split} |"
        for one in results
    ]
    return "\n".join(["## Metrics", "", "| metric | value | protocol |", "|---|---|---|", *rows])
