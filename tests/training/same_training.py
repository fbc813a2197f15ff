"""What test_processes.py runs on one, two and three processes: `same_training.py DATA OUT RECIPES.json`.

A few steps of every recipe in float64, after which the main process writes the weights to OUT/RECIPE.safetensors. In
float32, Adam turns a difference in the last bit of a gradient near zero into a whole step; in float64, what differs
after some steps is another algorithm.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from limner.core.distributed import end_process, start_engine
from limner.recipes.load import load_recipe
from limner.training.loop import train_step
from limner.training.modality import open_modality
from limner.training.state import State

STEPS = 5


def main() -> None:
    data, out, recipes = (Path(argument) for argument in sys.argv[1:])
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    narrow = torch.Tensor.float
    torch.Tensor.float = lambda x: narrow(x) if x.dtype == torch.bool else x.double()  # type: ignore[method-assign]
    engine = start_engine("cpu", "fp32")
    for name, overrides in json.loads(recipes.read_text()).items():
        recipe = load_recipe(name, overrides)
        modality = open_modality(recipe, data)
        state = State.fresh(recipe, 0, engine.device, len(modality.attribute_names) if recipe.conditioning else 0)
        source = modality.source(0, engine.device)
        for _ in range(STEPS):
            train_step(recipe, state, source, engine, 0)
        if engine.is_main:
            tensors = {
                key: value for key, value in state.tensors().items() if not key.startswith(("optimizer.", "sum."))
            }
            save_file({key: value.contiguous() for key, value in tensors.items()}, out / f"{name}.safetensors")
    engine.wait()


if __name__ == "__main__":
    main()
    end_process(0)
