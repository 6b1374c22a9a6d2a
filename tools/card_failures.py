"""The failures that docs/model_card.md shows: which they are, their captions, their pictures.

    python tools/card_failures.py DATA    draw docs/pictures/model_card_*.png anew, from results/weights

Only images that may be passed on are shown; the weights answer the few of them again.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

import multimix
from multimix.data.manifest import read_manifest
from multimix.errors import ManifestError
from multimix.inference.predictor import Predictor
from multimix.io.overlay import overlay
from multimix.io.readers import read_image, read_mask
from multimix.io.run_folder import read_per_image
from multimix.io.writers import write_png
from multimix.types import Record

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "weights"
FOLDER = ROOT / "docs" / "pictures"

SIDE, GAP, BAR = 240, 8, 40
"""Pixels of a tile, between tiles, and of the words below a tile."""

SHOWN = ("kermany_v7", "kermany", "nih")
"""Sources whose images may be shown."""
PICTURES = {
    "kermany_v7": "model_card_masks.png",
    "kermany": "model_card_kermany.png",
    "nih": "model_card_nih.png",
}
CREDIT = {
    "kermany_v7": "Images: Kermany et al., doi:10.17632/rscbjbr9sj, CC BY 4.0; masks: V7 Labs, CC BY 4.0.",
    "kermany": "Images: Kermany et al., doi:10.17632/rscbjbr9sj, CC BY 4.0.",
    "nih": "Images: NIH Clinical Center, ChestX-ray14 (Wang et al., CVPR 2017).",
}


def failures(table: pd.DataFrame, classes: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    """Source -> the four lowest Dice, or of each class the two wrong answers that are most sure."""
    worst = {}
    for source in SHOWN:
        mine = table[table["source"] == source]
        if "dice_lungs" in mine and mine["dice_lungs"].notna().any():
            worst[source] = mine.sort_values(["dice_lungs", "image"]).head(4)
        elif not mine.empty:
            wrong = mine[(mine["predicted"] != mine["label"]) & mine["predicted"].isin(classes)].copy()
            wrong["sure"] = [row[f"p_{row['predicted']}"] for _, row in wrong.iterrows()]
            wrong = wrong.sort_values(["label", "sure", "image"], ascending=[True, False, True])
            worst[source] = wrong.groupby("label").head(2)
    return {source: rows for source, rows in worst.items() if len(rows)}


def described(source: str, rows: pd.DataFrame) -> dict[str, str]:
    """The picture of one source's failures: file, words for those who do not see it, caption."""
    if source == "kermany_v7":
        each = "; ".join(f"{Path(row['image']).stem} ({row['dice_lungs']:.3f})" for _, row in rows.iterrows())
        alt = f"{len(rows)} chest X-rays of children whose lungs were outlined badly"
        caption = f"The lowest Dice of {source}, from left: {each}. Blue the answer, green V7's mask."
    else:
        each = "; ".join(
            f"{Path(row['image']).stem} is {row['label']}, answered {row['predicted']} {row['sure']:.2f}"
            for _, row in rows.iterrows()
        )
        alt = f"{len(rows)} chest X-rays of {source} that were answered wrongly; below, the answers"
        caption = f"The wrong answers to {source} that were most sure, two of each label, from left: {each}."
    return {"file": PICTURES[source], "alt": alt, "caption": f"{caption} {CREDIT[source]}"}


def draw(data: Path, results: Path = RESULTS, folder: Path = FOLDER) -> list[Path]:
    """Write the picture of each source's failures. `data` has manifest.csv; ManifestError where one is missing."""
    training = json.loads((results / "training.json").read_text("utf-8"))
    worst = failures(read_per_image(results / "per_image.parquet"), tuple(training["classes"]))
    predictor = multimix.load(training["name"])
    data = data.resolve()
    records = {record.image: record for record in read_manifest(data)}
    files = []
    for source, rows in worst.items():
        images = [data / name for name in rows["image"]]
        if missing := [image for image in images if image not in records]:
            raise ManifestError(
                f"{missing[0]}: not in the manifest of {data}; name the data that was evaluated."
            )
        tiles = [_tile(predictor, records[image], rows.iloc[i]) for i, image in enumerate(images)]
        files.append(folder / PICTURES[source])
        write_png(files[-1], np.concatenate(tiles, axis=1))
    return files


def _tile(predictor: Predictor, record: Record, row: pd.Series) -> np.ndarray:
    """One failure (H W 3): the image, the answer over it, and two lines of words."""
    radiograph = read_image(record.image, predictor.spec.channels)
    prediction = next(predictor.predict_radiographs([radiograph], force=True))
    masks, saliency = dict(prediction.masks), prediction.pictured_saliency
    if row["source"] == "kermany_v7":
        masks["reference"] = read_mask(record.masks["lungs"], radiograph.size)
        words, saliency = f"Dice {row['dice_lungs']:.3f}", None
    else:
        words = f"is {row['label']}, answered {row['sure']:.2f}"
    pictures = [
        overlay(radiograph.pixels, {}, None),
        overlay(radiograph.pixels, masks, saliency),
    ]
    sheet = Image.new("RGB", (SIDE + GAP, 2 * (SIDE + GAP) + BAR), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(
            Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC), (0, i * (SIDE + GAP))
        )
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for i, line in enumerate((Path(row["image"]).stem, words)):
        pen.text((2, 2 * SIDE + GAP + 6 + 18 * i), line, "black", font)
    return np.asarray(sheet)


if __name__ == "__main__":
    print("\n".join(map(str, draw(Path(sys.argv[1])))))
