"""The exponential moving average (EMA) of the generator's weights, from which samples and models are made."""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import ParametrizationList

# Early on the average looks back over a twentieth of the run at most, or it would show the starting weights for long.
RAMP = 0.05


@torch.no_grad()
def update_ema(mean: nn.Module, network: nn.Module, images: int, batch: int, halflife_images: float) -> None:
    """Move `mean` towards `network` after a step of `batch` images that brought the run to `images`.

    What the network was `halflife_images` ago weighs half of what it is now; at 0 the average is the network itself.
    Statistics of batch norm are averaged with the weights, and whole numbers (its counters) are copied. Buffers of a
    parametrisation stay as they are: see `settle_spectral_norms`.
    """
    halflife = min(halflife_images, RAMP * images)
    keep = 0.5 ** (batch / halflife) if halflife > 0 else 0.0
    pairs = list(zip(_averaged(mean), _averaged(network), strict=True))
    means = [(own, new) for own, new in pairs if own.is_floating_point()]
    torch._foreach_lerp_([own for own, _ in means], [new for _, new in means], 1 - keep)
    for own, new in pairs:
        if not own.is_floating_point():
            own.copy_(new)


@torch.no_grad()
def settle_spectral_norms(mean: nn.Module) -> nn.Module:
    """Compute the singular vectors u and v of every spectral norm from the averaged weights; returns `mean`.

    Spectral norm (Miyato et al. 2018) divides by sigma = u' W v. An average of unit vectors is no unit vector, and u
    and v of the network belong to other weights: either gives a wrong sigma, and the layers of a saved model would not
    have norm 1. Computed from the weights alone, u and v do not depend on how often a run was sampled or stopped.
    """
    for module in mean.modules():
        for norm in module if isinstance(module, ParametrizationList) else ():
            if isinstance(norm, _SpectralNorm):
                matrix_RC = norm._reshape_weight_to_matrix(module.get_parameter("original")).double().cpu()
                u_R = torch.linalg.eigh(matrix_RC @ matrix_RC.T).eigenvectors[:, -1]
                norm._u.copy_(u_R)
                norm._v.copy_(nn.functional.normalize(matrix_RC.T @ u_R, dim=0))
    return mean


def _averaged(network: nn.Module) -> list[Tensor]:
    """The tensors of `network` but the buffers of its parametrisations."""
    lists = [module for module in network.modules() if isinstance(module, ParametrizationList)]
    left_out = {id(buffer) for module in lists for buffer in module.buffers()}
    return [*network.parameters(), *(buffer for buffer in network.buffers() if id(buffer) not in left_out)]
