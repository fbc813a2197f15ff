"""This machine's training and sampling speed against a plain PyTorch loop, side by side.

The reference is `plain_loop` on `jpegs`, ours is `limner.training.loop.train_step` on prepared images. `bench` also
checks that in fp32 they compute the same losses.
"""

from limner.bench.command import bench

__all__ = ["bench"]
