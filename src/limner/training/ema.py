"""The running mean of the generator's weights, from which samples and models are made."""

import torch
from torch import nn

# Early on the mean looks back over a twentieth of the run at the most, or it would show the starting weights for long.
RAMP = 0.05


@torch.no_grad()
def update_ema(mean: nn.Module, network: nn.Module, images: int, batch: int, halflife_images: float) -> None:
    """Move `mean` towards `network` after a step of `batch` images that brought the run to `images`.

    What the network was `halflife_images` ago weighs half of what it is now; at 0 the mean is the network itself.
    Statistics of batch norm are averaged with the weights; whole numbers (its counters) are copied.
    """
    halflife = min(halflife_images, RAMP * images)
    keep = 0.5 ** (batch / halflife) if halflife > 0 else 0.0
    pairs = list(zip(mean.state_dict().values(), network.state_dict().values(), strict=True))
    means = [(own, new) for own, new in pairs if own.is_floating_point()]
    torch._foreach_lerp_([own for own, _ in means], [new for _, new in means], 1 - keep)
    for own, new in pairs:
        if not own.is_floating_point():
            own.copy_(new)
