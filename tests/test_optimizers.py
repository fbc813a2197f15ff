"""torch's optimisers without torch.compile: the same steps, and a training that never loads it nor accelerate."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from limner.core import optimizers
from limner.data.packed import PackedFaces

PAIRS: dict[str, tuple[Callable[..., torch.optim.Optimizer], Callable[..., torch.optim.Optimizer]]] = {
    "Adam": (torch.optim.Adam, optimizers.Adam),
    "fused Adam": (lambda w: torch.optim.Adam(w, fused=True), lambda w: optimizers.Adam(w, fused=True)),
    "AdamW": (torch.optim.AdamW, optimizers.AdamW),
    "fused SGD": (
        lambda w: torch.optim.SGD(w, 0.1, momentum=0.9, fused=True),
        lambda w: optimizers.SGD(w, 0.1, momentum=0.9, fused=True),
    ),
    "LBFGS": (torch.optim.LBFGS, optimizers.LBFGS),
}


@pytest.mark.parametrize("name", PAIRS)
def test_steps_are_torch_s_to_the_last_bit(name: str) -> None:
    ends = []
    for make in PAIRS[name]:
        torch.manual_seed(0)
        weights_RC, x_NR = torch.randn(5, 3, requires_grad=True), torch.randn(7, 5)
        start_RC = weights_RC.detach().clone()
        optimizer = make([weights_RC])
        group = {"params": [torch.ones(2, requires_grad=True)]}
        if name != "LBFGS":
            optimizer.add_param_group(group)

        def loss() -> torch.Tensor:
            optimizer.zero_grad()  # noqa: B023
            value = (x_NR @ weights_RC).sigmoid().square().sum() + group["params"][0].square().sum()  # noqa: B023
            value.backward()
            return value

        for step in range(6):
            if "fused" in name:
                optimizer.found_inf = torch.tensor(float(step == 3))  # type: ignore[attr-defined]
                optimizer.grad_scale = None  # type: ignore[attr-defined]
            if name == "LBFGS":
                optimizer.step(loss)
            else:
                loss()
                optimizer.step()
        ends.append([weights_RC.detach(), group["params"][0].detach()])
    for torch_s, ours in zip(*ends, strict=True):
        assert torch.equal(torch_s, ours)
    assert not torch.equal(ends[0][0], start_RC)


def test_a_training_loads_neither_torch_compile_nor_accelerate(
    faces32: PackedFaces, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    sets = [part for word in tiny for part in ("--set", word)]
    train = ["train", "dcgan32", "--data", str(faces32.path), "--out", str(tmp_path / "run"), "--images", "32", *sets]
    script = (
        "import sys\nfrom limner.cli import main\n"
        f"sys.argv = {['limner', *train, '--quiet']!r}\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print({'torch._dynamo', 'sympy', 'accelerate'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False)
    assert (tmp_path / "run/model").is_dir(), done.stderr
    assert done.stdout.splitlines()[-1] == "set()"
