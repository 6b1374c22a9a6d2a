"""What the help of a command says is taken where an option is left out is what is taken."""

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

import multimix
from multimix.cli import commands
from multimix.data.cache import DEFAULT_GB
from multimix.data.index import index_folder
from multimix.data.phantom import write_dataset
from multimix.data.splits import assign_splits
from multimix.evaluation.compare.shared import main_metrics
from multimix.evaluation.explain import explain
from multimix.inference.load import load
from multimix.inference.predict_files import predict_files
from multimix.metrics.table import METRICS
from multimix.pacs.config import PacsConfig
from multimix.recipes import recipe
from multimix.serve.server import serve
from multimix.serve.settings import LOOPBACK, Limits

TRAIN, PACS, LIMITS = recipe("ours"), PacsConfig(), Limits()


def default_of(function: Callable[..., Any], name: str) -> Any:
    return inspect.signature(function).parameters[name].default


def all_of(limit: int | None) -> str:
    return "all" if limit is None else str(limit)


def main_scores() -> str:
    """Names of the metrics that are compared where none is asked for, as the help lists them."""
    names = {f"{metric.name}_x" if metric.each else metric.name: metric for metric in METRICS}
    main = [names[name] for name in main_metrics(list(names))]
    parts = {each: ", ".join(m.name for m in main if m.each == each) for each in ("", "class", "structure")}
    return "; ".join(f"of each {each} {listed}" if each else listed for each, listed in parts.items())


# (command, option) -> what its help has to say, from where the command takes it.
WRITTEN = {
    ("compare", "metric"): main_scores(),
    ("pacs run", "modality"): ",".join(PACS.dicomweb.modalities),
    ("pacs run", "since"): all_of(PACS.dicomweb.since or None),
    ("pacs run", "address"): PACS.node.address,
    ("pacs run", "ae_title"): PACS.node.ae_title,
    ("pacs run", "queue"): PACS.queue,
    ("pacs run", "results"): ",".join(PACS.results),
    ("train", "class_labels"): all_of(TRAIN.data.class_labels),
    ("train", "mask_labels"): all_of(TRAIN.data.mask_labels),
    ("train", "classes"): ",".join(TRAIN.data.classes) or "those found",
    ("train", "structures"): ",".join(TRAIN.data.structures) or "those found",
    ("train", "multi_label"): "multi-label" if TRAIN.data.multi_label else "exclusive",
    ("train", "method"): TRAIN.method,
    ("train", "recipe"): "ours",
    ("train", "size"): str(TRAIN.data.size),
    ("train", "channels"): str(TRAIN.data.channels or "as the images are"),
    ("train", "steps"): "the recipe's",
    ("train", "seed"): str(TRAIN.seed),
    ("train", "device"): TRAIN.device,
    ("train", "precision"): TRAIN.precision,
    ("train", "patience"): str(TRAIN.patience or "never"),
}
# In words, of what depends on the other words of the command line.
IN_WORDS = {
    ("audit", "seal_log"),
    ("benchmark", "processes"),
    ("benchmark", "seal_log"),
    ("compare", "source"),
    ("data index", "out"),
    ("data index", "root"),
    ("evaluate", "class_source"),
    ("evaluate", "mask_source"),
    ("evaluate", "out"),
    ("evaluate", "seal_log"),
    ("explain", "source"),
    ("explain", "out"),
    ("report", "out"),
    ("seal", "seal_log"),
    ("serve", "threads"),
}
# Defaults that click shows, of options whose value goes into a configuration or a function.
SHOWN = {
    ("data split", "seed"): 0,
    ("data index", "seed"): default_of(index_folder, "seed"),
    ("data split", "shares"): ",".join(map(str, default_of(assign_splits, "fractions"))),
    ("data phantom", "size"): default_of(write_dataset, "size"),
    ("data phantom", "seed"): default_of(write_dataset, "seed"),
    ("evaluate", "device"): default_of(load, "device"),
    ("explain", "split"): default_of(explain, "split"),
    ("explain", "most"): default_of(explain, "most"),
    ("explain", "device"): default_of(explain, "device"),
    ("explain", "seed"): default_of(explain, "seed"),
    ("pacs run", "device"): default_of(load, "device"),
    ("pacs status", "queue"): PACS.queue,
    ("predict", "formats"): list(default_of(predict_files, "formats")),
    ("predict", "device"): default_of(load, "device"),
    ("predict", "precision"): default_of(load, "precision"),
    ("serve", "device"): default_of(serve, "device"),
    ("serve", "max_mib"): LIMITS.body_bytes / 2**20,
    ("serve", "max_files"): LIMITS.files,
    ("serve", "max_megapixels"): LIMITS.pixels / 1_000_000,
    ("serve", "timeout"): LIMITS.seconds,
}
# Known to the command alone.
OWN = {
    ("demo", "out"): "demo",
    ("demo", "seed"): 0,
    ("evaluate", "split"): "test",
    ("export", "pixels"): "float32",
    ("export", "precision"): "fp32",
    ("export", "runtimes"): ["onnxruntime"],
    ("pacs run", "wait"): 60.0,
    ("predict", "out"): "answers",
    ("seal", "split"): "test",
    ("serve", "host"): "127.0.0.1",
    ("serve", "port"): 8000,
}


def options(command: click.Command = commands, name: str = "") -> Iterator[tuple[str, click.Option]]:
    """(command, option) of every command, those of groups as 'data index'."""
    if isinstance(command, click.Group):
        for word, inner in command.commands.items():
            yield from options(inner, f"{name} {word}".strip())
    yield from ((name, option) for option in command.params if isinstance(option, click.Option))


def test_defaults_that_are_written_into_a_help_text() -> None:
    found = {
        (command, option.name): text
        for command, option in options()
        for text in re.findall(r"\[default: (.*?)\]", option.help or "")
    }
    assert {key: text for key, text in found.items() if key not in IN_WORDS} == WRITTEN
    assert found.keys() >= IN_WORDS


def test_defaults_that_click_shows() -> None:
    found = {}
    for command, option in options():
        default = option.to_info_dict()["default"]
        if default is not None and not option.is_flag:
            assert option.show_default, f"{command} --{option.name} does not say its default"
            found[command, option.name] = str(default) if isinstance(default, Path) else default
    assert found == SHOWN | OWN
    assert OWN["serve", "host"] in LOOPBACK  # else it would need a token


def test_flags_are_off_where_they_are_left_out() -> None:
    on = [
        (command, option.name) for command, option in options() if option.is_flag and option.default is True
    ]
    assert on == []


def test_numbers_and_names_in_the_texts_of_commands() -> None:
    helps = {name: " ".join((commands.commands[name].help or "").split()) for name in ("train", "benchmark")}
    assert f"MULTIMIX_CACHE_GB limits what they take, {DEFAULT_GB:g} by default." in helps["train"]
    listed = re.search(r"comes with the package: ([\w, ]+)\.", helps["benchmark"])
    shipped = Path(multimix.__file__).parent / "experiment" / "specs"
    assert listed is not None
    assert sorted(listed[1].split(", ")) == sorted(file.stem for file in shipped.glob("*.yaml"))
