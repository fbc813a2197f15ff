"""Models for the tests of exports."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from limner.model.model import Model


@pytest.fixture(scope="session")
def untrained() -> "Callable[..., Model]":
    """Makes a small model of a recipe, of random weights that give images of much contrast, with four attributes."""
    import numpy as np
    import torch
    from stand_ins import untrained_config

    from limner.model.model import Model
    from limner.networks import build_generator
    from limner.networks.layers import he_std
    from limner.recipes.load import load_recipe

    @cache
    def build(name: str, *overrides: str) -> Model:
        recipe = load_recipe(name)
        fixed = ("autoencoder", "avgpool", "painter")
        narrow = ["data.size=32", f"generator.width={8 if recipe.generator.network == 'modern' else 64}"]
        recipe = load_recipe(name, [*([] if recipe.generator.network in fixed else narrow), *overrides])
        names = ("Male", "Smiling", "Wearing_Hat", "Young") if recipe.conditioning else ()
        torch.manual_seed(1)
        size, latent = recipe.data.size, recipe.latent.size
        if recipe.generator.network == "autoencoder":  # its convolutions take any size
            size, latent = 8, 3 * 8 * 8
        generator = build_generator(recipe.generator, size, latent + len(names))
        layers = [module for module in generator.modules() if he_std(module)]
        for module in layers:
            torch.nn.init.normal_(module.weight, 0.0, he_std(module))
        if recipe.data.range == "byte":
            layers[-1].weight.data *= 100
        for module in generator.modules():
            if isinstance(module, torch.nn.BatchNorm2d):  # else it would be the identity
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 1.5)
        config = untrained_config(recipe, latent, names).model_copy(update={"size": size})
        known_MA = np.random.default_rng(1).integers(0, 2, (200, len(names)), np.uint8)
        return Model(config, generator, torch.device("cpu"), known_MA if names else np.zeros((0, 0), np.uint8))

    return build


@pytest.fixture(scope="session", autouse=True)
def graphs_made_once() -> Iterator[None]:
    """The graph of a generator takes seconds: tests share those of models that are the same.

    Each file is still compared with PyTorch, which would find a graph of another model. And torch reads how it writes
    each of its operations, the same every time, for every graph: a second.
    """
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    from limner.exporting import export, onnx

    make, graphs = onnx.generator_graph, {}

    def generator_graph(model: "Model") -> Any:
        kind = model.config.model_dump_json(exclude={"recipe", "weights_sha256"})
        if kind not in graphs:
            graphs[kind] = make(model)
        return graphs[kind]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx, "generator_graph", generator_graph)
        patch.setattr(export, "generator_graph", generator_graph)
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        patch.setattr(export, "load_runtime", cache(export.load_runtime))  # compresses 14 MB
        yield
