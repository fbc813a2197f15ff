"""In what time does `modern-cpu` reach a `dcgan` that was shown as many images as the plain loop shows in an hour?

How much faster our loop trains `dcgan` than the plain one is measured first, in turn. `dcgan` is then trained here for
an hour divided by that ratio: as many steps as the plain loop makes in its hour, which itself is not run. This `dcgan`
has what the plain loop does not have: mirrored images, bf16 and the EMA as its model. Then `modern-cpu` is
trained anew for one minute, two, three, until its distance is not larger. Results: results/hour.json and
docs/modern.md. The speed and the runs that are already in `--runs` are not measured again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from modern import measure
from page import DOCS, put_rows

from limner.bench import bench
from limner.data.packed import PackedFaces

RESULTS = Path(__file__).parent / "results" / "hour.json"
BEGIN = "<!-- rows: python benchmarks/hour.py -->"
HOUR = 60.0
MINUTES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared images, 64 pixels wide")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--steps", type=int, default=8, help="samples of each loop's speed")
    arguments = parser.parse_args()

    faces = PackedFaces.open(arguments.data)
    speed = arguments.runs / "speed.json"
    if not speed.exists():
        arguments.runs.mkdir(parents=True, exist_ok=True)
        bench("dcgan", arguments.steps, speed)
    measured = json.loads(speed.read_text(encoding="utf-8"))
    ratio = measured["training_ratio"]["median_of_pairs"]
    hour = measure("dcgan", 0, {"minutes": round(HOUR / ratio, 1)}, faces, arguments.runs)
    tries: list[dict[str, Any]] = []
    for minutes in MINUTES:
        tries.append(measure("modern-cpu", 0, {"minutes": minutes}, faces, arguments.runs))
        if tries[-1]["metrics"]["fd_lite0"] <= hour["metrics"]["fd_lite0"]:
            break
    results = {"speed": measured, "hour": hour, "modern-cpu": tries}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")

    lines = ["| trained | minutes | images | `fd_lite0` | times faster |", "|---|---|---|---|---|"]
    for words, one, minutes in [
        (f"`dcgan` by the plain loop (computed: {ratio:.2f} times our {hour['seconds'] / 60:.1f} minutes)", hour, HOUR),
        *(("`modern-cpu`", one, one["seconds"] / 60) for one in tries),
    ]:
        reached = one["metrics"]["fd_lite0"] <= hour["metrics"]["fd_lite0"]
        faster = f"{HOUR / minutes:.0f}" if reached else ""
        lines.append(
            f"| {words} | {minutes:.1f} | {one['images_seen']:,} | {one['metrics']['fd_lite0']:.1f} | {faster} |"
        )
    put_rows(DOCS / "modern.md", BEGIN, "\n".join(lines))
    print("\n".join(lines))
