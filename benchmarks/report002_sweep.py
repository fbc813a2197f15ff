"""Does report 002's finding hold, that the discriminator should learn four times more slowly (2e-4 and 5e-5)?

    limner sweep dcgan --data celeba64 --out report002 ...   # the whole command: docs/sweep.md
    python benchmarks/report002_sweep.py report002

reads the finished sweep, writes results/report002_sweep.json and the table of docs/sweep.md.
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
import torch
from page import DOCS, put_rows

from limner.core.device import machine_facts
from limner.sweeping.storage import SETTINGS, open_storage
from limner.sweeping.trial import METRIC, SECONDS

RESULTS = Path(__file__).parent / "results" / "report002_sweep.json"
BEGIN = "<!-- report 002: python benchmarks/report002_sweep.py STUDY -->"
GENERATOR, DISCRIMINATOR = "optimizer.generator.lr", "optimizer.discriminator.lr"
REPORT = (2e-4, 5e-5)  # report 002's own point
GRACE = 120  # seconds; of no effect on a sweep that nobody works on


def table(trials: list[dict[str, Any]]) -> str:
    """One row for each learning rate of D, one column for each of G."""
    values = {(trial["generator_lr"], trial["discriminator_lr"]): trial[METRIC] for trial in trials}
    columns, rows = (sorted({pair[k] for pair in values}) for k in (0, 1))
    best = min(values, key=lambda pair: values[pair])

    def cell(pair: tuple[float, float]) -> str:
        text = f"{values[pair]:.0f}"
        return f"**{text}**" if pair == best else f"{text} (the report's)" if pair == REPORT else text

    lines = ["| lr of D | " + " | ".join(f"lr of G {lr:g}" for lr in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {row:g} | " + " | ".join(cell((column, row)) for column in columns) + " |" for row in reversed(rows)]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="the folder of the finished sweep")
    folder = parser.parse_args().study
    study = optuna.load_study(study_name=folder.resolve().name, storage=open_storage(None, folder, GRACE))
    trials = [
        {
            "generator_lr": trial.params[GENERATOR],
            "discriminator_lr": trial.params[DISCRIMINATOR],
            METRIC: round(trial.value, 1),
            "seconds": round(trial.user_attrs[SECONDS]),
        }
        for trial in study.get_trials()
        if trial.value is not None
    ]
    result = {
        "settings": study.user_attrs[SETTINGS],
        "trials": trials,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine_facts(torch.device("cpu")),
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    put_rows(DOCS / "sweep.md", BEGIN, table(trials))
