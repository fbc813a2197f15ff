"""What there is to compute with: the device, the precision that it gains by, and facts of the machine."""

import os
import platform
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from limner.core.errors import UserError


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no floating-point number in `tensors`, all on one device, is infinite or NaN."""
    floats = [tensor.detach() for tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    if not floats:
        return True
    largest = torch._foreach_norm(floats, float("inf"))  # unlike a sum, it cannot overflow
    return bool(torch.stack([value.float() for value in largest]).isfinite().all())


def find_device(name: str) -> torch.device:
    """The device that torch calls `name`; `auto` is a GPU where torch can use one.

    Raises UserError where the machine has no such device.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    if name.partition(":")[0] not in available:
        raise UserError(f"device is {name}; choose from auto, {', '.join(available)}.")
    try:
        torch.empty(0, device=name)
    except (AssertionError, RuntimeError):
        there = ", ".join(kind for kind, here in available.items() if here)
        raise UserError(f"This machine has no {name} device that torch can use; there is {there}.") from None
    return torch.device(name)


def seed_generators(seed: int, device: torch.device) -> None:
    """As `torch.manual_seed`, for the generators of the CPU and of the kind of `device` alone.

    That one keeps the seed for devices of every other kind too, each with a stack trace: on a CPU, half a millisecond.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        module = torch.get_device_module(device)
        getattr(module, "manual_seed_all", module.manual_seed)(seed)


def gains_by_bf16(device: torch.device) -> bool:
    """Whether `device` multiplies bf16 numbers in hardware, and so faster than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def machine_facts(device: torch.device) -> dict[str, Any]:
    """What a reader of a number must know of the machine: system, processor, cores, memory in GiB, device."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    facts: dict[str, Any] = {
        "system": platform.platform(terse=True),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "device": device.type,
        "device_name": name,
        "threads": torch.get_num_threads(),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        facts["memory_gib"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return facts


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
