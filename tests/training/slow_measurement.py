"""`limner` with features that take for ever: `torchrun slow_measurement.py FILE ARGUMENTS...`; FILE says they began."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.cli import main
from limner.evaluation import setup

sys.path.append(str(Path(__file__).parents[1]))
from stand_ins import SquareMeans


class Slow(SquareMeans):
    def features(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        began.touch()
        time.sleep(5)
        return super().features(images_NHWC)


began = Path(sys.argv[1])
sys.argv[1:] = sys.argv[2:]


def slow(*_: Any) -> Slow:
    return Slow(squares=2)


setup.load_extractor = slow
main()
