"""`multimix bench`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multimix.cli.train import LARGEST

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
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write every figure to this file.")
def bench(size: int, images: int, pairs: int, file: Path | None) -> None:
    """Measure this machine: training step, answers, streams, start-up.

    \b
    Examples:
      multimix bench                              some minutes: the released schedule is slow
      multimix bench --size 128 --json bench.json

    Ratios are the released schedule's seconds over ours, measured in turns. They need benchmarks/naive.py, which
    lies in the repository and not in the package.
    """
    import os

    from rich.console import Console

    os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # the profiler's own chatter, read when torch is imported
    from multimix.bench import bench as measure
    from multimix.cli.progress import bar
    from multimix.errors import UsageError
    from multimix.io.writers import write_json

    if size % 16:
        raise UsageError(f"--size: expected a multiple of 16, got {size}. Choose e.g. 256.")
    with bar("Measuring", "parts") as report:
        results = measure(size=size, images=images, pairs=pairs, report=report)
    if file is not None:
        write_json(file, results)
    Console().print(screen(results))


def screen(results: dict[str, Any]) -> "Table":
    """One screen of figures."""
    from rich.table import Table

    machine, step = results["machine"], results["train_step"]
    table = Table(
        "what",
        "value",
        "ratio",
        title=f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}, "
        f"{results['size']} x {results['size']}, 5 streams of {results['images_per_stream']}",
        caption="ratio: seconds, or operations, of the released schedule over ours"
        if "ratio" in step
        else "",
    )
    table.add_row("training step, float32", f"{step['seconds']:.2f} s", _ratio(step))
    half = results["train_step_bf16"]
    table.add_row("training step, bfloat16", f"{half['seconds']:.2f} s", _ratio(half))
    table.add_row("images a second in training", f"{step['images_per_second']:.1f}")
    for name, found in results["inference"].items():
        label = f"answer, {name.replace('batch', 'batch of ')}"
        table.add_row(label, f"{1e3 * found['seconds_per_image']:.0f} ms an image", _ratio(found))
        half = {
            name.removeprefix("bf16_"): value for name, value in found.items() if name.startswith("bf16_")
        }
        images = int(name.removeprefix("batch"))
        table.add_row(f"{label}, bfloat16", f"{1e3 * half['seconds'] / images:.0f} ms an image", _ratio(half))
    peak = results["peak_gflops"]["float32"]
    table.add_row(
        "arithmetic of a step",
        f"{step['gflop']:.0f} GFLOP, {step['share_of_peak']:.0%} of {peak:.0f} GFLOP/s",
        f"{step['naive_gflop'] / step['gflop']:.1f}" if "naive_gflop" in step else "",
    )
    for name, share in step["share_by_part"].items():
        table.add_row(f"  {name}", f"{share:.0%}")
    need = results["streams"]["times_the_need"]
    table.add_row("data streams", f"{need:.0f} times as fast as the step needs them")
    table.add_row("memory peak", f"{results['memory_peak_mb']:.0f} MB")
    table.add_row("multimix --help", f"{results['start_up']['help']:.2f} s")
    table.add_row("multimix predict, one image", f"{results['start_up']['predict_one_image']:.1f} s")
    return table


def _ratio(found: dict[str, float]) -> str:
    return f"{found['ratio']:.1f}" if "ratio" in found else ""
