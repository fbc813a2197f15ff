"""What test_processes.py runs on several numbers of processes: `same_training.py DATA OUT RECIPES.json`.

In float32, Adam turns a difference in the last bit of a gradient near zero into a whole step; in float64, what differs
after some steps is another algorithm. The processes are forked from one that has loaded everything.

A few steps of every recipe on one, two and three processes, after which the main one writes the weights to
OUT/WORLD/RECIPE.safetensors. Then whole runs in OUT/run-PLAN, whose number of processes changes at every stop.
"""

import json
import sys
from pathlib import Path

import accelerate  # noqa: F401
import torch
from safetensors.torch import save_file

from limner.core.distributed import start_engine
from limner.recipes.load import load_recipe
from limner.training.loop import train_step
from limner.training.modality import open_modality
from limner.training.session import resume, train
from limner.training.state import State

sys.path.append(str(Path(__file__).parents[1]))
from several_processes import run_on

STEPS = 3
PLANS = ((1,), (2, 3, 2), (1, 4))
IMAGES = 144  # of each run, in equal parts
RARELY = ("record.log_images=48", "record.checkpoint_images=1000")  # so that a stop lies between two log lines


def main() -> None:
    data, out, recipes = (Path(argument) for argument in sys.argv[1:])
    named = json.loads(recipes.read_text())
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    narrow = torch.Tensor.float
    torch.Tensor.float = lambda x: narrow(x) if x.dtype == torch.bool else x.double()  # type: ignore[method-assign]
    for world in (1, 2, 3):
        run_on(world, step, data, out / str(world), named)
    for plan in PLANS:
        run = out / f"run-{'-'.join(map(str, plan))}"
        for part, world in enumerate(plan, 1):
            run_on(world, sit, data, run, [*named["dcgan"], *RARELY], IMAGES * part // len(plan))


def step(data: Path, out: Path, recipes: dict[str, list[str]]) -> None:
    engine = start_engine("cpu", "fp32")
    for name, overrides in recipes.items():
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
            out.mkdir(exist_ok=True)
            save_file({key: value.contiguous() for key, value in tensors.items()}, out / f"{name}.safetensors")
    engine.wait()


def sit(data: Path, run: Path, overrides: list[str], images: int) -> None:
    """One sitting of a run: its beginning, or going on with it."""
    if (run / "run.json").exists():
        resume(run, images=images, device="cpu", quiet=True)
    else:
        train("dcgan", data, run, images=images, overrides=overrides, device="cpu", quiet=True)


if __name__ == "__main__":
    main()
