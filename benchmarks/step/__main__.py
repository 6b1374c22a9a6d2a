"""`python -m benchmarks.step`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multimix.cli.options import LARGEST

if TYPE_CHECKING:
    from rich.table import Table


@click.command()
@click.option(
    "--size", type=click.IntRange(32, LARGEST), default=256, show_default=True, help="Side in pixels."
)
@click.option(
    "--images", type=click.IntRange(min=1), default=10, show_default=True, help="Images per stream and step."
)
@click.option(
    "--pairs", type=click.IntRange(min=1), default=3, show_default=True, help="Measurements of each figure."
)
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="What is measured."
)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write every figure to this file.")
def bench(size: int, images: int, pairs: int, device: str, file: Path | None) -> None:
    """Measure this machine: training step, answers, streams, start-up.

    \b
    Examples:
      python -m benchmarks.step                              some minutes: the released schedule is slow
      python -m benchmarks.step --size 128 --json bench.json
      python -m benchmarks.step --device cuda --pairs 11     a minute

    Ratios are the released schedule's seconds over ours, measured in turns. The released schedule is
    benchmarks/naive.py.
    """
    import os

    from rich.console import Console

    os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # the profiler's own chatter, read when torch is imported
    from benchmarks.step.measure import bench as measure
    from torch import cuda

    from multimix.cli.progress import bar
    from multimix.io.writers import write_json

    if size % 16:
        raise click.UsageError(f"--size: expected a multiple of 16, got {size}. Choose e.g. 256.")
    if device == "cuda" and not cuda.is_available():
        raise click.UsageError("--device cuda: no such device here. Use --device cpu.")
    with bar("Measuring", "parts") as report:
        results = measure(size=size, images=images, pairs=pairs, device=device, report=report)
    if file is not None:
        write_json(file, results)
    Console().print(screen(results))


def screen(results: dict[str, Any]) -> "Table":
    """One screen of figures."""
    from rich.table import Table

    machine, step = results["machine"], results["train_step"]
    on = machine["processor"] if machine["device"] == "cpu" else machine["device"]
    table = Table(
        "what",
        "value",
        "ratio",
        title=f"{on}, {machine['threads']} threads, torch {machine['torch']}, "
        f"{results['size']} x {results['size']}, 5 streams of {results['images_per_stream']}",
        caption="ratio: seconds, or operations, of the released schedule over ours"
        if "ratio" in step
        else "",
    )
    for kind, name in (("float32", "train_step"), ("bfloat16", "train_step_bf16")):
        found, peak = results[name], results["peak_gflops"][kind]
        table.add_row(f"training step, {kind}", _seconds(found["seconds"]), _ratio(found))
        table.add_row("  images a second", f"{found['images_per_second']:.1f}")
        table.add_row(
            "  arithmetic",
            f"{found['gflop']:.0f} GFLOP, {found['share_of_peak']:.0%} of {peak:.0f} GFLOP/s",
            f"{step['naive_gflop'] / found['gflop']:.1f}" if "naive_gflop" in step else "",
        )
        for part, share in found["share_by_part"].items():
            table.add_row(f"  {part}", f"{share:.0%}")
    for name, found in results["inference"].items():
        label = f"answer, {name.replace('batch', 'batch of ')}"
        table.add_row(label, f"{_seconds(found['seconds_per_image'])} an image", _ratio(found))
        half = {
            name.removeprefix("bf16_"): value for name, value in found.items() if name.startswith("bf16_")
        }
        images = int(name.removeprefix("batch"))
        table.add_row(f"{label}, bfloat16", f"{_seconds(half['seconds'] / images)} an image", _ratio(half))
    made = results["streams"]
    table.add_row("data streams", f"{made['times_the_need']:.1f} times as fast as the step needs them")
    table.add_row("  of the time, in steps", f"{made['share_of_time_in_steps']:.0%}")
    table.add_row("memory peak of a float32 step", f"{results['memory_peak_mb']:.0f} MB")
    table.add_row("multimix --help", _seconds(results["start_up"]["help"]))
    table.add_row("multimix predict, one image", _seconds(results["start_up"]["predict_one_image"]))
    return table


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 0.1 else f"{1e3 * value:.1f} ms"


def _ratio(found: dict[str, float]) -> str:
    return f"{found['ratio']:.1f}" if "ratio" in found else ""


if __name__ == "__main__":
    bench()
