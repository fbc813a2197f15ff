"""Put a discriminator beside the model `faces`, so that the recipe `finetune` has one to go on with.

The one that `faces` was trained against was not kept. This one is from a run of `modern-attributes` on images of which
none has one attribute, so that benchmarks/finetune.py can fine-tune on images that have it: a kind that this
discriminator has not seen. Its output for that attribute starts at zero.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save

from limner.core.files import write_file
from limner.model.model import find_model, read_config
from limner.recipes.load import load_recipe
from limner.runs.run import CHECKPOINTS, Run
from limner.training.init import DISCRIMINATOR, SETTINGS
from limner.training.state import read_newest, under

LAST = ("linear.weight", "linear.bias")


def ship(run: Run, target: Path) -> None:
    """Write the discriminator of `run`, in fp16 and with an output for every attribute of the model in `target`."""
    names, known = read_config(target).attribute_names, run.model.config.attribute_names
    _, tensors, _ = read_newest(run.path / CHECKPOINTS)
    weights = under(tensors, "discriminator.")
    for layer in LAST:
        grown = torch.zeros(1 + len(names), *weights[layer].shape[1:])
        grown[[0, *(1 + names.index(name) for name in known)]] = weights[layer]
        weights[layer] = grown
    settings = load_recipe("finetune").model_dump(include={"discriminator": True, "conditioning": {"method"}})
    halves = {name: value.half().contiguous() for name, value in weights.items()}
    write_file(target / DISCRIMINATOR, save(halves, metadata={SETTINGS: json.dumps(settings)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run of modern-attributes")
    ship(Run.open(parser.parse_args().run), find_model(Path("faces")))
