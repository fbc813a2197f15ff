"""The precision of a network's products: convolutions and matrix products. Everything else is fp32."""

from typing import Literal

Precision = Literal["auto", "bf16", "fp32"]
"""`auto`: bf16 where the device gains by it, else fp32."""
