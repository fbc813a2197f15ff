"""What holds for the networks of every family: shapes, sizes, ranges, derivatives, what is saved."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from limner.core.errors import UserError
from limner.networks import (
    DISCRIMINATORS,
    GENERATORS,
    avgpool,
    build_discriminator,
    build_encoder,
    build_generator,
    dcgan,
    layers,
    modern,
    painter,
    sngan,
)
from limner.networks.settings import NetworkSettings
from limner.recipes.load import load_recipe

GENERATOR_SETTINGS: dict[str, NetworkSettings] = {
    "dcgan": dcgan.DcganGeneratorSettings(network="dcgan", width=64),
    "dcgan, layer norm": dcgan.DcganGeneratorSettings(network="dcgan", width=64, norm="layer"),
    "dcgan, no norm": dcgan.DcganGeneratorSettings(network="dcgan", width=64, norm="none"),
    "dcgan32": dcgan.Dcgan32GeneratorSettings(network="dcgan32", width=64),
    "avgpool": avgpool.AvgpoolGeneratorSettings(network="avgpool"),
    "autoencoder": avgpool.AutoencoderGeneratorSettings(network="autoencoder"),
    "sngan": sngan.SnganGeneratorSettings(network="sngan-pixelnorm", width=64),
    "modern": modern.ModernGeneratorSettings(network="modern", width=8),
    "modern, modulated": modern.ModernGeneratorSettings(network="modern", width=8, norm="modulated"),
    "modern, deep": modern.ModernGeneratorSettings(network="modern", width=8, max_width=16, depth=1, norm="pixel"),
    "painter": painter.PainterGeneratorSettings(network="painter", width=8),
}
DISCRIMINATOR_SETTINGS: dict[str, NetworkSettings] = {
    "dcgan": dcgan.DcganDiscriminatorSettings(network="dcgan", width=4),
    "dcgan, layer norm": dcgan.DcganDiscriminatorSettings(network="dcgan", width=4, norm="layer"),
    "dcgan, no norm": dcgan.DcganDiscriminatorSettings(network="dcgan", width=4, norm="none"),
    "dcgan, average pool": dcgan.DcganDiscriminatorSettings(network="dcgan", width=4, downsampling="average-pool"),
    "dcgan, max pool": dcgan.DcganDiscriminatorSettings(network="dcgan", width=4, downsampling="max-pool"),
    "dcgan, hybrid": dcgan.DcganDiscriminatorSettings(network="dcgan", width=4, downsampling="hybrid"),
    "dcgan32": dcgan.Dcgan32DiscriminatorSettings(network="dcgan32", width=4),
    "avgpool": avgpool.AvgpoolDiscriminatorSettings(network="avgpool"),
    "sngan": sngan.SnganDiscriminatorSettings(network="sngan-pixelnorm", width=4),
    "sngan, groups of 2": sngan.SnganDiscriminatorSettings(network="sngan-pixelnorm", width=4, stddev_group=2),
    "modern": modern.ModernDiscriminatorSettings(network="modern", width=8, stddev_group=2),
    "modern, deep": modern.ModernDiscriminatorSettings(
        network="modern", width=8, max_width=16, depth=1, stddev_group=0
    ),
    "painter": painter.PainterDiscriminatorSettings(network="painter", width=8),
}
SIZES = [32, 64, 128]


def latent(name: str, size: int) -> int:
    return {"avgpool": 125, "autoencoder": 3 * size * size}.get(name, 9)


def generator_of(name: str, size: int) -> nn.Module:
    return build_generator(GENERATOR_SETTINGS[name], size, latent(name, size))


def images(name: str, size: int, channels: int = 3) -> Tensor:
    return torch.randn(2, size) if name == "painter" else torch.randn(2, channels, size, size)


def size_of(name: str) -> int:
    return {"painter": 15, "avgpool": 64, "autoencoder": 4}.get(name, 32)


def test_no_network_is_left_out() -> None:
    assert {type(settings) for settings in GENERATOR_SETTINGS.values()} == set(GENERATORS)
    assert {type(settings) for settings in DISCRIMINATOR_SETTINGS.values()} == set(DISCRIMINATORS)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *[
            (name, size)
            for name in GENERATOR_SETTINGS
            if name not in ("avgpool", "autoencoder", "painter")
            for size in SIZES
        ],
        ("avgpool", 64),
        ("autoencoder", 32),  # 2 million products a pixel: no need of more
    ],
)
def test_generators_at_every_size(name: str, size: int) -> None:
    x_BCHW = generator_of(name, size).eval()(torch.randn(2, latent(name, size)))
    assert x_BCHW.shape == (2, 3, size, size)
    byte = name in ("avgpool", "autoencoder")
    assert x_BCHW.min() >= (0 if byte else -1)
    assert byte or x_BCHW.max() <= 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [name for name in DISCRIMINATOR_SETTINGS if name != "painter"])
def test_discriminators_at_every_size(name: str, size: int) -> None:
    """Also with attributes as maps and as outputs."""
    network = build_discriminator(DISCRIMINATOR_SETTINGS[name], size)
    assert network(images(name, size)).shape == (2, 1)
    network = build_discriminator(DISCRIMINATOR_SETTINGS[name], size, channels=5, outputs=4)
    assert network(images(name, size, 5)).shape == (2, 4)


def test_painter_draws_and_judges_curves() -> None:
    y_BP = build_generator(GENERATOR_SETTINGS["painter"], 15, 5)(torch.randn(2, 5))
    assert y_BP.shape == (2, 15)
    assert build_discriminator(DISCRIMINATOR_SETTINGS["painter"], 15, outputs=3)(y_BP).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "size", "latent", "message"),
    [
        ("avgpool", 32, 125, "data.size is 32; the generator avgpool makes images of 64 only."),
        ("avgpool", 64, 100, "latent.size is 100; the generator avgpool takes 125"),
        ("avgpool", 64, 165, "latent.size is 165; the generator avgpool takes 125"),
        ("autoencoder", 32, 100, "latent.size is 100; the generator autoencoder takes 3 x 32 x 32 = 3072"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(name: str, size: int, latent: int, message: str) -> None:
    with pytest.raises(UserError) as error:
        build_generator(GENERATOR_SETTINGS[name], size, latent)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_settings_must_be_finite() -> None:
    with pytest.raises(UserError, match=r"generator.init_std = inf cannot be"):
        load_recipe("dcgan", ["generator.init_std=inf"])


@pytest.mark.parametrize(("output", "low"), [("tanh", -1), ("sigmoid", 0)])
def test_output_is_the_images_range(output: str, low: int) -> None:
    torch.manual_seed(0)
    settings = dcgan.DcganGeneratorSettings(network="dcgan", width=64, output=output, init_std=1.0)
    x_BCHW = build_generator(settings, 32, 9)(torch.randn(8, 9))
    assert x_BCHW.min().item() == pytest.approx(low, abs=1e-3)
    assert x_BCHW.max().item() == pytest.approx(1, abs=1e-3)


def test_probabilities_of_pixels_stay_below_one_in_bf16() -> None:
    """The nearest to sigmoid(7) in bf16 is 1, whose complement has no logarithm."""
    with torch.autocast("cpu", torch.bfloat16):
        p = layers.WideSigmoid()(torch.tensor([7.0]).bfloat16())
    assert p.item() == pytest.approx(0.99908894, abs=1e-6)


@pytest.mark.parametrize(
    ("downsampling", "strides", "pools"),
    [
        ("stride", [2, 2, 2, 2], 0),
        ("average-pool", [1, 1, 1, 1], 4),
        ("max-pool", [1, 1, 1, 1], 4),
        ("hybrid", [2, 2, 1, 1], 2),
    ],
)
def test_downsampling(downsampling: str, strides: list[int], pools: int) -> None:
    settings = dcgan.DcganDiscriminatorSettings(network="dcgan", width=4, downsampling=downsampling)
    *halvings, _ = [m for m in build_discriminator(settings, 64).modules() if isinstance(m, nn.Conv2d)]
    assert [layer.stride[0] for layer in halvings] == strides
    assert [layer.kernel_size[0] for layer in halvings] == [4 if stride == 2 else 3 for stride in strides]
    kind = nn.MaxPool2d if downsampling == "max-pool" else nn.AvgPool2d
    assert sum(isinstance(m, kind) for m in build_discriminator(settings, 64).modules()) == pools


@pytest.mark.parametrize(("norm", "alone"), [("batch", False), ("layer", True), ("none", True)])
def test_norms_that_a_gradient_penalty_allows_judge_every_image_alone(norm: str, alone: bool) -> None:
    torch.manual_seed(0)
    settings = dcgan.DcganDiscriminatorSettings(network="dcgan", width=4, norm=norm)
    network, x_BCHW = build_discriminator(settings, 32).train(), torch.randn(4, 3, 32, 32)
    assert torch.allclose(network(x_BCHW)[:1], network(x_BCHW[:1]), rtol=1e-4) == alone


def test_layer_norm_is_over_all_channels_and_places() -> None:
    network = build_discriminator(DISCRIMINATOR_SETTINGS["dcgan, layer norm"], 32)
    norms = [m for m in network.modules() if isinstance(m, nn.GroupNorm)]
    assert len(norms) == 2
    x_BCHW = torch.randn(2, 8, 4, 4) * torch.arange(1.0, 9.0)[:, None, None]
    torch.testing.assert_close(norms[0](x_BCHW), nn.functional.layer_norm(x_BCHW, (8, 4, 4)))


def test_without_norm_every_convolution_has_a_bias() -> None:
    for network in (
        build_generator(GENERATOR_SETTINGS["dcgan, no norm"], 32, 9),
        build_discriminator(DISCRIMINATOR_SETTINGS["dcgan, no norm"], 32),
    ):
        assert all(m.bias is not None for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d))


@pytest.mark.parametrize("name", ["dcgan", "dcgan32"])
def test_encoder_is_the_discriminator_with_mean_and_log_variance_for_a_logit(name: str) -> None:
    torch.manual_seed(0)
    settings = DISCRIMINATOR_SETTINGS[name]
    encoder, discriminator = build_encoder(settings, 64, 9), build_discriminator(settings, 64)
    mean_BZ, log_variance_BZ = encoder(torch.randn(2, 3, 64, 64))
    assert mean_BZ.shape == log_variance_BZ.shape == (2, 9)
    assert not torch.equal(mean_BZ, log_variance_BZ)
    top = 4 * 8 * 4 * 4 + (name == "dcgan32")  # what each output is made from; the linear layer has a bias
    counts = [sum(p.numel() for p in network.parameters()) for network in (encoder, discriminator)]
    assert counts[0] - counts[1] == (2 * 9 - 1) * top


@pytest.mark.parametrize(
    ("name", "as_product"),
    [*[(name, False) for name in DISCRIMINATOR_SETTINGS], ("dcgan", True), ("dcgan, hybrid", True), ("sngan", True)],
)
def test_discriminators_are_twice_differentiable(monkeypatch: pytest.MonkeyPatch, name: str, as_product: bool) -> None:
    """As gradient penalties need it: gradients of gradients, for images and weights, against finite differences."""
    if as_product:
        monkeypatch.setattr(layers, "GEMM_MIN_CHANNELS", 1)
    torch.manual_seed(0)
    size = 15 if name == "painter" else 32
    network = build_discriminator(DISCRIMINATOR_SETTINGS[name], size).double()
    for parameter in network.parameters():  # large enough for second derivatives that one can tell from 0
        nn.init.normal_(parameter, 0.0, parameter[0].numel() ** -0.5)
    # In training every pass of spectral norm differs from the last by a power iteration.
    network.train("sngan" not in name)
    weights = {key: p.detach().requires_grad_() for key, p in network.named_parameters() if p.numel() < 10_000}

    def judge(x_BCHW: Tensor, *values: Tensor) -> Tensor:
        output_BO = torch.func.functional_call(network, dict(zip(weights, values, strict=True)), (x_BCHW,))
        return output_BO.tanh()  # the networks are all but linear in pieces; this bends them

    inputs = (images(name, size).double().requires_grad_(), *weights.values())
    assert torch.autograd.gradgradcheck(judge, inputs, fast_mode=True)


def test_spectral_norms_are_one() -> None:
    """After enough passes the largest singular value of every convolution's matrix is 1."""
    torch.manual_seed(0)
    generator = build_generator(GENERATOR_SETTINGS["sngan"], 32, 9)
    discriminator = build_discriminator(DISCRIMINATOR_SETTINGS["sngan"], 32)
    for module in [*generator.modules(), *discriminator.modules()]:
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            continue
        original = module.parametrizations.weight.original
        original.data.normal_()  # other than what the norms were estimated for
        for _ in range(200):
            weight = module.weight  # as each pass takes it
        matrix = (weight.transpose(0, 1) if isinstance(module, nn.ConvTranspose2d) else weight).flatten(1)
        assert torch.linalg.matrix_norm(matrix, 2).item() == pytest.approx(1, abs=5e-3)


def both(name: str, kind: Callable[[str], nn.Module]) -> tuple[nn.Module, nn.Module]:
    networks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        networks.append(kind(name))
    return networks[0], networks[1]


def saved_and_loaded(network: nn.Module, other: nn.Module, path: Path) -> nn.Module:
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    other.load_state_dict(load_file(path))
    return other.eval()


@pytest.mark.parametrize("name", GENERATOR_SETTINGS)
def test_a_saved_generator_and_a_copy_are_the_same(name: str, tmp_path: Path) -> None:
    size = size_of(name)
    network, other = both(name, lambda name: generator_of(name, size))
    z_BZ = torch.randn(2, latent(name, size))
    network(z_BZ)  # moves what is no parameter: running statistics, singular vectors
    copy = deepcopy(network).eval()
    expected = network.eval()(z_BZ)
    assert not torch.equal(other.eval()(z_BZ), expected)
    assert torch.equal(saved_and_loaded(network, other, tmp_path / "weights")(z_BZ), expected)
    assert torch.equal(copy(z_BZ), expected)


@pytest.mark.parametrize("name", DISCRIMINATOR_SETTINGS)
def test_a_saved_discriminator_is_the_same(name: str, tmp_path: Path) -> None:
    size = size_of(name)
    network, other = both(name, lambda name: build_discriminator(DISCRIMINATOR_SETTINGS[name], size))
    x_BCHW = images(name, size)
    network(x_BCHW)
    expected = network.eval()(x_BCHW)
    assert not torch.equal(other.eval()(x_BCHW), expected)
    assert torch.equal(saved_and_loaded(network, other, tmp_path / "weights")(x_BCHW), expected)


def test_channels_last_and_bf16_change_little() -> None:
    """How the training runs them on the CPU; spectral norm's own products stay in fp32."""
    for name, settings in DISCRIMINATOR_SETTINGS.items():
        if name == "painter":
            continue
        torch.manual_seed(0)
        network = build_discriminator(settings, 32).eval()
        x_BCHW = torch.randn(4, 3, 32, 32)
        expected = network(x_BCHW)
        network.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            output_BO = network(x_BCHW.to(memory_format=torch.channels_last))
        torch.testing.assert_close(output_BO.float(), expected, rtol=0.05, atol=0.02 * expected.abs().max().item())
