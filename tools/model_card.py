"""Write docs/model_card.md, the card of the weights that ship, from stored results.

    python tools/model_card.py EVALUATION DATA   copy an evaluation, draw the failures, write the card
    python tools/model_card.py                   write the card from results/weights, without model or data
    python tools/model_card.py --check           fail where the card is out of step

EVALUATION is a folder that `multimix evaluate --weights NAME DATA` wrote (with the JSON of `multimix audit` as
audit.json, if there is one); DATA has manifest.csv. What is copied holds no image. results/weights/training.json
comes from `tools/ship_weights.py`. The words are in model_card.md.j2. A short card goes beside the weights.
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from card_failures import described, draw, failures
from card_tables import AXES, aims, calibration_table, class_table, data_table, group_tables, mask_table

from multimix.errors import ManifestError, MultimixError
from multimix.io.run_folder import read_per_image
from multimix.io.tables import write_table
from multimix.io.writers import atomic_write, write_json
from multimix.serve.about import score_lines, trained_on
from multimix.weights import FOLDER

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "weights"
CARD = ROOT / "docs" / "model_card.md"
TEMPLATE = Path(__file__).with_name("model_card.md.j2")

AGES = ("0 to 17", "18 to 44", "45 to 64", "65 or over")


def collect(evaluation: Path, data: Path, results: Path = RESULTS) -> None:
    """Copy scores and per-image table; write down each image's groups and what the audit says of shortcuts."""
    results.mkdir(parents=True, exist_ok=True)
    tables = [file for file in evaluation.glob("per_image.*") if file.suffix in (".csv", ".parquet")]
    if not tables or not (evaluation / "scores.json").is_file():
        raise ManifestError(
            f"{evaluation}: expected scores.json and per_image.parquet; write them with `multimix evaluate --out`."
        )
    table = read_per_image(tables[0])
    write_table(results / "per_image.parquet", table)
    shutil.copyfile(evaluation / "scores.json", results / "scores.json")
    write_table(results / "groups.parquet", groups(data / "manifest.csv", table["image"].tolist()))
    found: list[dict[str, Any]] = []
    if (evaluation / "audit.json").is_file():
        audited = json.loads((evaluation / "audit.json").read_text("utf-8"))
        found = [
            one for one in audited["findings"] if one["fault"] in ("size-shortcut", "thumbnail-shortcut")
        ]
    write_json(results / "shortcuts.json", found)


def groups(manifest: Path, images: Sequence[str]) -> pd.DataFrame:
    """The groups of each image, "" where it is in none: a column for each of AXES beside `image`."""
    rows = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    rows["extra"] = [dict(part.partition("=")[::2] for part in cell.split(";")) for cell in rows["extra"]]
    # The class image and the mask image of one film share the hash of their original; each knows a part.
    known: dict[str, dict[str, str]] = {}
    for digest, cells in zip(rows["original_sha256"], rows["extra"], strict=True):
        known[digest] = known.get(digest, {}) | cells
    rows = rows.set_index("path").loc[list(images)]
    extra = [known[digest] for digest in rows["original_sha256"]]
    found = pd.DataFrame({"image": list(images)})
    found["shape"] = _shapes(rows["source"].tolist(), rows["label"].tolist(), extra)
    found["subtype"] = [cells.get("subtype", "").replace("none", "normal") for cells in extra]
    found["view"] = [cells.get("view", "") for cells in extra]
    found["sex"] = [{"F": "female", "M": "male"}.get(cells.get("sex", ""), "") for cells in extra]
    found["age"] = [_age(cells.get("age", "")) for cells in extra]
    told = rows["source"].isin(["jsrt", "montgomery", "shenzhen"])
    found["finding"] = rows["label"].where(told, "").to_numpy()
    return found[["image", *AXES]]


def _shapes(sources: Sequence[str], labels: Sequence[str], extra: Sequence[Mapping[str, str]]) -> list[str]:
    """Label and half of Kermany's images by width over height of the original, which V7's masks have kept."""
    ratios = [
        int(cells["mask_width"]) / int(cells["mask_height"])
        if source == "kermany" and "mask_width" in cells
        else np.nan
        for source, cells in zip(sources, extra, strict=True)
    ]
    middle = np.nanmedian(ratios) if np.isfinite(ratios).any() else np.nan
    return [
        "" if np.isnan(ratio) else f"{label}, {'squarer' if ratio <= middle else 'wider'} half"
        for label, ratio in zip(labels, ratios, strict=True)
    ]


def _age(text: str) -> str:
    """NIH's age in years as a band; a few of its ages are over 100 and mean nothing."""
    if not text.isdecimal() or int(text) > 100:
        return ""
    return AGES[np.searchsorted([18, 45, 65], int(text), side="right")]


def card(results: Path = RESULTS) -> str:
    """The card's text."""
    training = json.loads((results / "training.json").read_text("utf-8"))
    scores = json.loads((results / "scores.json").read_text("utf-8"))["scores"]
    table = read_per_image(results / "per_image.parquet")
    grouped = table.merge(pd.read_parquet(results / "groups.parquet"), on="image", validate="one_to_one")
    by_source = {entry["source"]: entry for entry in scores}
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    classes = tuple(training["classes"])
    calibration, notes = calibration_table(by_source)
    text = environment.from_string(TEMPLATE.read_text("utf-8")).render(
        name=training["name"],
        training=training,
        megabytes=f"{training['bytes'] / 1e6:.1f}",
        command=train_command((results / "run.sh").read_text("utf-8")),
        data_table=data_table(training["images"]),
        aims="\n".join(aims(by_source)),
        class_table=class_table(by_source, table, classes),
        mask_table=mask_table(by_source),
        group_tables="\n\n".join(group_tables(grouped, classes)),
        calibration_table=calibration,
        calibration_notes=notes,
        audit=shortcuts(json.loads((results / "shortcuts.json").read_text("utf-8"))),
        failures=[described(source, rows) for source, rows in failures(table, classes).items()],
    )
    return text.rstrip() + "\n"


def cards(results: Path = RESULTS) -> dict[Path, str]:
    """File -> text: the card, and the short one beside the weights."""
    name = json.loads((results / "training.json").read_text("utf-8"))["name"]
    short = json.dumps(short_card(results), indent=1) + "\n"
    return {CARD: card(results), FOLDER / f"{name}.json": short}


INPUT = {"chest-xray": "frontal chest X-ray"}
"""Name of shipped weights -> what one image is."""


def short_card(results: Path = RESULTS) -> dict[str, Any]:
    """What the service says of the weights: what they are for, what they learned from, how good they are."""
    training = json.loads((results / "training.json").read_text("utf-8"))
    scores = json.loads((results / "scores.json").read_text("utf-8"))["scores"]
    images = {(line["source"], line["role"]): line["images"] for line in training["images"]}
    return {
        "input": INPUT.get(training["name"], "image"),
        "trained_on": trained_on(images),
        "scores": score_lines(scores),
    }


def train_command(script: str) -> str:
    """What stands between `TRAIN=(` and `)` in run.sh, as one would type it."""
    found = re.search(r"^TRAIN=\(\n(.*?)^\)", script, re.DOTALL | re.MULTILINE)
    if found is None:
        raise ManifestError("results/weights/run.sh: expected lines between 'TRAIN=(' and ')'.")
    lines = [
        line.strip() for line in found[1].splitlines() if line.strip() and not line.strip().startswith("#")
    ]
    return "multimix train DATA " + " \\\n    ".join(lines) + " --out RUN"


def shortcuts(found: Sequence[dict[str, Any]]) -> list[str]:
    """What the audit found, in a line each."""
    return [
        f"`multimix audit`, {one['severity']}: {one['title']} ({one['where']}; "
        + ", ".join(
            f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in one["evidence"].items()
        )
        + ")."
        for one in found
    ]


def main() -> int:
    """Write or check; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("evaluation", type=Path, nargs="?")
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    try:
        if given.evaluation is not None:
            if given.data is None:
                parser.error("EVALUATION needs DATA, the folder of manifest.csv, for groups and pictures")
            collect(given.evaluation, given.data)
        for file, text in cards().items():
            if not given.check:
                with atomic_write(file) as place:
                    place.write_text(text, "utf-8")
            elif not file.is_file() or file.read_text("utf-8") != text:
                raise ManifestError(f"{file}: out of date; run `python tools/model_card.py`.")
        if given.evaluation is not None:
            draw(given.data)
    except MultimixError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
