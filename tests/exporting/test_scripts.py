"""The scripts of exported pages, in a real browser, beside what they are written after: NumPy, Limner and torch."""

import base64
from collections.abc import Callable
from functools import reduce
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from limner.core.randomness import stream
from limner.data.curves import Curves
from limner.explore.interpolation import slerp
from limner.latent.labels import RARE, face_labels, rare_request
from limner.latent.latents import face_latents

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Script = Callable[[str, Any], Any]


@pytest.fixture(scope="module")
def script(browser: "Browser") -> Script:
    """Runs the body of a function of `given`, in which the pages' functions can be called."""
    pages = files("limner") / "exporting" / "pages"
    names = ("random.js", "latents.js", "attributes.js", "gan.js")
    code = "\n".join((pages / name).read_text(encoding="utf-8") for name in names)
    page = browser.new_page()
    return lambda body, given: page.evaluate(f"(given) => {{ {code}\n{body} }}", given)


@pytest.mark.parametrize("seed", [0, 1, 2**53 - 1])
def test_streams_are_those_of_numpy(script: Script, seed: int) -> None:
    """30,000 normals, so that the tail and the edges of the ziggurat come up."""
    body = """
      const random = new RandomStream(given, "face", 70000), integers = new RandomStream(given, "labels", 3, 4);
      const advanced = new RandomStream(given, "curves");
      advanced.advance(5);
      return {
        normals: Array.from({ length: 30000 }, () => random.normal()),
        floats: Array.from({ length: 51 }, () => random.float()),
        doubles: Array.from({ length: 50 }, () => random.double()),
        integers: Array.from({ length: 200 }, (_, k) => integers.integer(1 + 37 * k)),
        advanced: advanced.double(),
      };"""
    found = script(body, seed)
    random, integers = stream(seed, "face", 70000), stream(seed, "labels", 3, 4)
    assert np.array_equal(np.array(found["normals"], np.float32), random.standard_normal(30000, np.float32))
    assert np.array_equal(np.array(found["floats"], np.float32), random.random(51, np.float32))
    assert found["doubles"] == random.random(50).tolist()
    assert found["integers"] == [int(integers.integers(1 + 37 * k)) for k in range(200)]
    advanced = stream(seed, "curves")
    advanced.bit_generator.advance(5)  # type: ignore[attr-defined]
    assert found["advanced"] == advanced.random()


@pytest.mark.parametrize(("distribution", "tolerance"), [("gaussian", 0), ("uniform", 0), ("spherical", 1e-6)])
def test_latents_are_those_of_limner(script: Script, distribution: str, tolerance: float) -> None:
    body = "return [7, 8].map((index) => Array.from(faceLatent(5, index, 100, given)));"
    found = np.array(script(body, distribution), np.float32)
    assert np.abs(found - face_latents(5, 7, 2, 100, distribution).numpy()).max() <= tolerance


def test_a_morph_follows_the_arc_of_limner_explore(script: Script) -> None:
    a_1Z, b_1Z = face_latents(0, 3, 2, 64, "gaussian").split(1)
    body = "return given.shares.map((share) => between(given.a, given.b, share, 'gaussian'));"
    shares = [0.0, 0.25, 0.5, 1.0]
    found = script(body, {"a": a_1Z[0].tolist(), "b": b_1Z[0].tolist(), "shares": shares})
    for share, z_Z in zip(shares, found, strict=True):
        assert np.allclose(z_Z, slerp(a_1Z, b_1Z, torch.tensor([[share]]))[0], atol=1e-6)
    assert np.allclose(script("return between([3, 4], [3, 4], 0.3, 'gaussian');", None), [3, 4])
    assert np.allclose(script("return between([0, -1], [1, 1], 0.25, 'uniform');", None), [0.25, -0.5])


@pytest.fixture(scope="module")
def known_MA() -> Any:
    """600 vectors of 8 attributes that depend on each other; the last is in two vectors alone."""
    random = np.random.default_rng(3)
    y_MA = np.zeros((600, 8), np.uint8)
    for a in range(7):
        logit_M = reduce(lambda sum_M, k: sum_M + (k - 2) * 0.8 * y_MA[:, k], range(a), np.full(600, -0.4))
        y_MA[:, a] = random.random(600) < 1 / (1 + np.exp(-logit_M))
    y_MA[:2, 7] = 1
    return y_MA


@pytest.mark.parametrize(
    "requested",
    [{}, {2: 1}, {0: 1, 3: 0}, {7: 1}, {7: 1, 1: 0, 4: 1}, {0: 1, 1: 1, 2: 0, 3: 1, 4: 0, 5: 0, 6: 1, 7: 1}],
)
def test_attributes_are_those_of_limner(script: Script, known_MA: Any, requested: dict[int, int]) -> None:
    """Taken from known vectors that agree with the request, or from the fitted model where too few do."""
    body = """
      const attributes = new Attributes(unpackKnown(given.known, 600, 8)), requested = new Map(given.requested);
      const labels = Array.from({ length: 100 }, (_, k) => attributes.ofFace(9, 50 + k, requested));
      return { labels, rare: attributes.isRare(requested) };"""
    packed = base64.b64encode(np.packbits(known_MA).tobytes()).decode()
    found = script(body, {"known": packed, "requested": list(requested.items())})
    assert np.array_equal(found["labels"], face_labels(9, 50, 100, known_MA, requested))
    assert found["rare"] == (rare_request(known_MA, requested, list("abcdefgh")) is not None)


def test_some_request_is_rare(known_MA: Any) -> None:
    assert rare_request(known_MA, {0: 1, 1: 1, 2: 0, 3: 1, 4: 0, 5: 0, 6: 1, 7: 1}, list("abcdefgh"))
    assert RARE == 1e-4


SETTINGS = {
    "points": 15,
    "latentSize": 5,
    "width": 16,
    "batch": 8,
    "images": 80,
    "emaHalflife": 100,
    "samples": 4,
    "optimizers": {"generator": {"beta1": 0.5, "beta2": 0.99}, "discriminator": {"beta1": 0.0, "beta2": 0.99}},
}
STEPS = 6


def layers(weights: dict[str, list[float]], inputs: int, outputs: int) -> nn.Sequential:
    network = nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, outputs)).double()
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor(weights["first_IH"]).view(inputs, 16).T)  # type: ignore[union-attr, operator]
        network[0].bias.copy_(torch.tensor(weights["bias_H"]))  # type: ignore[union-attr, operator]
        network[2].weight.copy_(torch.tensor(weights["last_HO"]).view(16, outputs).T)  # type: ignore[union-attr, operator]
        network[2].bias.copy_(torch.tensor(weights["bias_O"]))  # type: ignore[union-attr, operator]
    return network


def test_the_painter_trains_as_torch_does(script: Script) -> None:
    """Six steps of the game, from the page's own first weights, on the curves and latents of the streams."""
    body = f"""
      const painter = new Painter(given, 4);
      const weights = (network) =>
        Object.fromEntries(Object.entries(network.weights).map(([name, w]) => [name, Array.from(w)]));
      const first = {{ generator: weights(painter.generator), discriminator: weights(painter.discriminator) }};
      const rates = {{ generator: 0.01, discriminator: 0.02 }};
      const measured = Array.from({{ length: {STEPS} }}, () => painter.step(rates));
      return {{ first, measured, last: weights(painter.generator), samples: Array.from(painter.samples()) }};"""
    torch.set_default_dtype(torch.float64)
    try:
        found = script(body, SETTINGS)
        generator = layers(found["first"]["generator"], 5, 15)
        discriminator = layers(found["first"]["discriminator"], 15, 1)
        descents = {
            "generator": torch.optim.Adam(generator.parameters(), 0.01, (0.5, 0.99)),
            "discriminator": torch.optim.Adam(discriminator.parameters(), 0.02, (0.0, 0.99)),
        }
        curves = Curves(4, torch.device("cpu"))
        for step in range(STEPS):
            latents = stream(4, "page latents", 8 * step).standard_normal(40, np.float32).reshape(8, 5)
            fake_BP = generator(torch.from_numpy(latents).double())
            real_B = discriminator(curves.at(8 * step, 8).x_BCHW.double())
            loss = F.softplus(-real_B).mean() + F.softplus(discriminator(fake_BP.detach())).mean()
            assert found["measured"][step]["value"] == pytest.approx(-loss.item(), abs=1e-5)
            descents["discriminator"].zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            descents["discriminator"].step()
            descents["generator"].zero_grad()
            (-F.softplus(discriminator(fake_BP)).mean()).backward()  # type: ignore[no-untyped-call]
            descents["generator"].step()
        expected = layers(found["last"], 5, 15)
        for own, theirs in zip(generator.parameters(), expected.parameters(), strict=True):
            assert torch.allclose(own, theirs, atol=1e-4)
    finally:
        torch.set_default_dtype(torch.float32)
    assert np.isfinite(found["samples"]).all()
