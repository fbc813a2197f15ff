"""Layers that the networks share.

Shapes: B batch, C channels, H height, W width; P a window's place, K kernel size. On the CPU, strided convolutions with
many channels run as one matrix product over gathered windows ("im2col"): oneDNN's own kernels for them reach a small
part of the machine's speed where an image has few places and many channels, the backward pass above all.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.core.distributed import count_processes, mean_over_processes
from limner.core.errors import UserError

# Karras et al. (2018), for both of their layers.
EPSILON = 1e-8
# Below this many channels in times channels out the gathering costs more than the product saves.
GEMM_MIN_CHANNELS = 128 * 128
# Kernels of 3x3 gain from it later: with eight times the channels, and on images of 8x8 and below.
FEW_PLACES = 8 * 8


def gather_windows(x_BHWC: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Every window of `kernel` x `kernel` as one row: B x H x W x C -> (B * places) x (kernel * kernel * C)."""
    x_BHWC = F.pad(x_BHWC, (0, 0, padding, padding, padding, padding))
    windows = x_BHWC.unfold(1, kernel, stride).unfold(2, kernel, stride)  # B, rows, columns, C, kernel, kernel
    return windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, kernel * kernel * x_BHWC.shape[3])


def scatter_windows(
    windows_PK: Tensor, shape_BHWC: tuple[int, int, int, int], kernel: int, stride: int, padding: int
) -> Tensor:
    """The adjoint of `gather_windows`: add every window's values back to the places they came from."""
    B, H, W, C = shape_BHWC
    rows, columns = _places(H, kernel, stride, padding), _places(W, kernel, stride, padding)
    windows = windows_PK.view(B, rows, columns, kernel, kernel, C)
    x_BHWC = windows.new_zeros(shape_BHWC)
    for i in range(kernel):
        from_rows, to_rows = _overlap(i, rows, H, stride, padding)
        for j in range(kernel):
            from_columns, to_columns = _overlap(j, columns, W, stride, padding)
            x_BHWC[:, to_rows, to_columns].add_(windows[:, from_rows, from_columns, i, j])
    return x_BHWC


def _places(size: int, kernel: int, stride: int, padding: int) -> int:
    return (size + 2 * padding - kernel) // stride + 1


def _overlap(tap: int, places: int, size: int, stride: int, padding: int) -> tuple[slice, slice]:
    """Which places of a window's `tap` fall inside the image, and on which of its `size` pixels."""
    first = max(0, -((tap - padding) // stride))
    last = min(places - 1, (size - 1 + padding - tap) // stride)
    start = first * stride + tap - padding
    return slice(first, last + 1), slice(start, start + (last - first) * stride + 1, stride)


class GatherWindows(torch.autograd.Function):
    """`gather_windows` whose gradient is `ScatterWindows`, and so twice differentiable (gradient penalties)."""

    @staticmethod
    def forward(ctx: Any, x_BHWC: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
        ctx.settings = (tuple(x_BHWC.shape), kernel, stride, padding)
        return gather_windows(x_BHWC, kernel, stride, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return ScatterWindows.apply(gradients[0], *ctx.settings), None, None, None  # type: ignore[no-untyped-call]


class ScatterWindows(torch.autograd.Function):
    """`scatter_windows` whose gradient is `GatherWindows`."""

    @staticmethod
    def forward(
        ctx: Any, windows_PK: Tensor, shape_BHWC: tuple[int, int, int, int], kernel: int, stride: int, padding: int
    ) -> Tensor:
        ctx.settings = (kernel, stride, padding)
        return scatter_windows(windows_PK, shape_BHWC, kernel, stride, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return GatherWindows.apply(gradients[0], *ctx.settings), None, None, None, None  # type: ignore[no-untyped-call]


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d` in every respect; strided ones run as a matrix product on the CPU (see the module's text)."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B x C_in x H x W -> B x C_out x H' x W'."""
        if not _as_product(self, x_BCHW):
            return super().forward(x_BCHW)
        kernel, stride, padding = self.kernel_size[0], self.stride[0], _padding(self)
        B, _, H, W = x_BCHW.shape
        windows_PK = GatherWindows.apply(x_BCHW.permute(0, 2, 3, 1), kernel, stride, padding)  # type: ignore[no-untyped-call]
        y_PC = F.linear(windows_PK, self.weight.permute(0, 2, 3, 1).flatten(1), self.bias)
        rows, columns = _places(H, kernel, stride, padding), _places(W, kernel, stride, padding)
        return y_PC.view(B, rows, columns, -1).permute(0, 3, 1, 2)


class ConvTranspose2d(nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` in every respect; runs as a matrix product on the CPU (see the module's text)."""

    def forward(self, x_BCHW: Tensor, output_size: list[int] | None = None) -> Tensor:
        """B x C_in x H x W -> B x C_out x H' x W'."""
        if output_size is not None or not _as_product(self, x_BCHW):
            return super().forward(x_BCHW, output_size)
        kernel, stride, padding = self.kernel_size[0], self.stride[0], _padding(self)
        B, C, H, W = x_BCHW.shape
        height, width = (stride * (size - 1) + kernel - 2 * padding for size in (H, W))
        windows_PK = x_BCHW.permute(0, 2, 3, 1).reshape(-1, C) @ self.weight.permute(0, 2, 3, 1).flatten(1)
        y_BHWC = ScatterWindows.apply(  # type: ignore[no-untyped-call]
            windows_PK, (B, height, width, self.out_channels), kernel, stride, padding
        )
        if self.bias is not None:
            y_BHWC = y_BHWC + self.bias
        return y_BHWC.permute(0, 3, 1, 2)  # type: ignore[no-any-return]


class WideSigmoid(nn.Sigmoid):
    """`torch.nn.Sigmoid` in fp32: in bf16 all above 0.998 would be 1, and the logarithm of what is missing infinite."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x.to(torch.promote_types(x.dtype, torch.float32)))


class BatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` in every respect; in training, its statistics are those of all processes' images together.

    (`torch.nn.SyncBatchNorm` exists for GPUs alone, and cannot be differentiated twice, as penalties need.)
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B x C x H x W -> the same shape."""
        if not self.training or count_processes() == 1:
            return super().forward(x_BCHW)
        wide_BCHW = x_BCHW.to(torch.promote_types(x_BCHW.dtype, torch.float32))
        mean_1C11 = mean_over_processes(wide_BCHW.mean((0, 2, 3), keepdim=True))
        variance_1C11 = mean_over_processes((wide_BCHW - mean_1C11).square().mean((0, 2, 3), keepdim=True))
        self._keep(mean_1C11.detach().flatten(), variance_1C11.detach().flatten(), x_BCHW.numel() // self.num_features)
        y_BCHW = (wide_BCHW - mean_1C11) * (variance_1C11 + self.eps).rsqrt()
        if self.affine:
            y_BCHW = y_BCHW * self.weight[:, None, None] + self.bias[:, None, None]
        return y_BCHW.to(x_BCHW.dtype)

    @torch.no_grad()
    def _keep(self, mean_C: Tensor, variance_C: Tensor, values: int) -> None:
        """Move the running statistics towards those of a batch with so many values a channel in each process."""
        values *= count_processes()
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean_C, self.momentum)
        self.running_var.lerp_(variance_C * (values / (values - 1)), self.momentum)


class PixelNorm(nn.Module):
    """Divide the channels of every place by their root mean square (Karras et al. 2018)."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B x C x H x W -> the same shape, the channels' mean square 1 at every place (0 where all are 0)."""
        # By way of the norm, no tensor of the squares is made: half the time of the plain formula on the CPU. On CUDA
        # autocast takes norms in fp32.
        mean_square_B1HW = torch.linalg.vector_norm(x_BCHW, dim=1, keepdim=True).square() / x_BCHW.shape[1]
        return x_BCHW * (mean_square_B1HW + EPSILON).rsqrt().to(x_BCHW.dtype)  # type: ignore[no-any-return]


class MinibatchStandardDeviation(nn.Module):
    """Add a channel that tells how much the images of a group differ (Karras et al. 2018).

    Of every channel and place the standard deviation over the group, then the mean of these: one number for a group.
    A group is `group` images that follow one another in the batch; 0: the whole batch, in all processes together.
    """

    def __init__(self, group: int = 0) -> None:
        super().__init__()
        self.group = group

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B x C x H x W -> B x (C + 1) x H x W; raises UserError where the groups do not fill the batch."""
        B, C, H, W = x_BCHW.shape
        group = self.group or B
        if B % group:
            raise UserError(
                f"A batch of {B} cannot be cut into groups of {group} (the minibatch standard deviation's)."
            )
        # In bf16 the differences between images that are nearly alike would be lost.
        x_NGCHW = x_BCHW.to(torch.promote_types(x_BCHW.dtype, torch.float32)).view(-1, group, C, H, W)
        mean = (lambda x: x) if self.group else mean_over_processes
        variance_NCHW = mean((x_NGCHW - mean(x_NGCHW.mean(1, keepdim=True))).square().mean(1))
        statistic_N = (variance_NCHW + EPSILON).sqrt().mean((1, 2, 3))  # the plain root has no gradient at 0
        statistic_B = statistic_N.repeat_interleave(group).to(x_BCHW.dtype)
        return torch.cat([x_BCHW, statistic_B[:, None, None, None].expand(B, 1, H, W)], 1)

    def extra_repr(self) -> str:
        return f"group={self.group}" if self.group else ""


def init_normal(network: nn.Module, std: float) -> None:
    """DCGAN's start: weights from N(0, `std`), scales of batch norm from N(1, `std`), biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, std)


def he_std(layer: nn.Module) -> float | None:
    """The standard deviation that He et al. (2015) give a layer's weights; `None` for a layer of another kind.

    For activations of one size throughout, with LeakyReLU(0.2). Of a transposed convolution's taps only some fall
    on any one place.
    """
    gain = (2 / (1 + 0.2**2)) ** 0.5
    if isinstance(layer, nn.ConvTranspose2d):
        taps = layer.kernel_size[0] * layer.kernel_size[1] / (layer.stride[0] * layer.stride[1])
        return float(gain / (layer.in_channels * taps) ** 0.5)
    if isinstance(layer, nn.Conv2d | nn.Linear):
        return float(gain / layer.weight[0].numel() ** 0.5)
    return None


def _as_product(layer: nn.Conv2d | nn.ConvTranspose2d, x_BCHW: Tensor) -> bool:
    channels = layer.in_channels * layer.out_channels
    few_places = x_BCHW.shape[2] * x_BCHW.shape[3] <= FEW_PLACES
    return (
        x_BCHW.device.type == "cpu"
        and not torch.compiler.is_compiling()  # an exported graph has the convolution itself
        and (
            (layer.kernel_size == (4, 4) and channels >= GEMM_MIN_CHANNELS)
            or (layer.kernel_size == (3, 3) and channels >= 8 * GEMM_MIN_CHANNELS and few_places)
        )
        and layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and layer.padding != "same"
    )


def _padding(layer: nn.Conv2d | nn.ConvTranspose2d) -> int:
    return int(layer.padding[0])
