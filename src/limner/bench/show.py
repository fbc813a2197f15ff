"""What people read of a measurement: tables and sentences."""

from rich.console import Console
from rich.table import Table

from limner.bench.records import LOOPS, Bench


def tables(result: Bench) -> list[tuple[str, list[str], list[list[str]]]]:
    """What people read of the result: titles, headers and rows."""
    training = [
        [
            "plain reference loop" if loop == "reference" else f"Limner ({result.precision})",
            _time(result.training[loop].median_seconds),
            _time(result.training[loop].least_seconds),
            f"{result.training[loop].images_per_second:,.0f}",
            f"{result.memory[loop].peak:,.0f} MiB",
            f"{1 - result.profile[loop].products:.0%}",
        ]
        for loop in LOOPS
    ]
    sampling = [
        [
            "plain generator, fp32, batch 64" if name == "reference" else f"{name}, {result.precision}",
            f"{speed.images_per_second:,.0f}",
            "" if name == "reference" else f"{result.sampling_ratio[name].of_medians:.2f}",
            "" if name == "reference" else f"{result.sampling_ratio[name].median_of_pairs:.2f}",
        ]
        for name, speed in result.sampling.items()
    ]
    headings = ["loop", "step, median", "step, least", "images/s", "peak memory", "outside products"]
    words = [result.recipe, *result.settings, f"batch {result.batch}"]
    if result.steps_per_round > 1:
        words.append(f"a step: {result.steps_per_round} of the discriminator and one of the generator")
    return [
        (f"Training {', '.join(words)}", headings, training),
        ("Sampling", ["way", "faces/s", "ratio of medians", "median of ratios"], sampling),
    ]


def summary(result: Bench) -> list[str]:
    """What the tables do not say, in sentences."""
    ratio, machine = result.training_ratio, result.machine
    outside = {
        loop: ", ".join(f"{_short(name)} {share:.1%}" for name, share in list(result.profile[loop].other.items())[:5])
        for loop in LOOPS
    }
    return [
        f"Limner trains {ratio.of_medians:.2f} times as fast (ratio of medians; median of the ratios of neighbouring "
        f"samples: {ratio.median_of_pairs:.2f}; {len(result.training['ours'].seconds)} samples of each loop in turn).",
        "Most of the time outside convolutions and matrix products: "
        f"reference {outside['reference']}; Limner {outside['ours']}.",
        f"Losses of the first {len(result.loss_differences)} steps in fp32 differ by "
        f"{', '.join(f'{difference:.0e}' for difference in result.loss_differences)} (rounding, which Adam lets grow).",
        f"{machine['device_name']}, {machine['threads']} threads, torch {result.torch_version}, {result.date}; "
        f"load average {result.load_average['before'][0]:.1f} before, {result.load_average['after'][0]:.1f} after.",
    ]


def print_result(result: Bench) -> None:
    """Print tables and summary to stdout."""
    console = Console()
    for title, header, rows in tables(result):
        table = Table(*header, title=title, title_justify="left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for line in summary(result):
        console.print(line, highlight=False)


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"


def _short(name: str) -> str:
    return name.removeprefix("aten::").partition("#")[0]
