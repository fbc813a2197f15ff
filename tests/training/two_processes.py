"""What test_engine.py has two processes do: `torchrun --nproc-per-node 2 two_processes.py DATA OUT SETTING...`.

Each process writes the hash of its weights after each training to OUT/weights-RANK.json, and to OUT/group-RANK.json
whether it was still in the group of processes when the interpreter ended.
"""

import atexit
import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from limner.core.errors import Interrupted
from limner.core.process import end_process
from limner.training import loop, session
from limner.training.state import State


def main() -> None:
    data, out, rank = Path(sys.argv[1]), Path(sys.argv[2]), int(os.environ["RANK"])
    tiny = sys.argv[3:]
    atexit.register(lambda: (out / f"group-{rank}.json").write_text(json.dumps(dist.is_initialized())))
    torch.set_num_threads(1)
    states: list[State] = []
    fresh = State.fresh

    def noted(*arguments: Any) -> State:
        states.append(fresh(*arguments))
        return states[-1]

    State.fresh = noted  # type: ignore[method-assign]
    hashes = {}

    def train(name: str, images: int, *overrides: str) -> None:
        session.train(
            "dcgan32", data, out / name, images=images, overrides=[*tiny, *overrides], device="cpu", quiet=True
        )
        note(name)

    def resume(name: str, images: int | None = None) -> None:
        session.resume(out / name, images=images, device="cpu", quiet=True)
        note(name)

    def note(name: str) -> None:
        digest = hashlib.sha256()
        for network in (states[-1].generator, states[-1].discriminator):
            for parameter in network.parameters():
                digest.update(parameter.detach().contiguous().numpy().tobytes())
        hashes[name] = digest.hexdigest()

    none = ("generator.norm=none", "discriminator.norm=none")
    train("none", 64, *none)
    train("batch", 96)
    train("stopped", 40)
    resume("stopped", 96)
    resume("of one", 64)

    step = loop.train_step

    def stopping_step(recipe: Any, state: State, *rest: Any) -> None:
        step(recipe, state, *rest)
        if state.images_seen == 24 and rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    loop.train_step = stopping_step
    try:
        train("asked to stop", 999)
    except Interrupted:
        note("asked to stop")
    (out / f"weights-{rank}.json").write_text(json.dumps(hashes))


if __name__ == "__main__":
    main()
    end_process(0)
