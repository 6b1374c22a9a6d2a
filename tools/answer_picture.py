"""Write docs/pictures/answer.png: an image beside its answer, from a trained run.

    python tools/answer_picture.py RUN IMAGE

Only images that may be passed on (generated, Kermany, NIH) belong into the repository.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import multimix
from multimix.io.overlay import overlay
from multimix.io.readers import read_image

SIDE, BAR = 448, 44


def main(run: str, image: str) -> None:
    """Image left, answer right, probabilities below."""
    radiograph = read_image(image)
    prediction = multimix.load(run)(image)
    grey = Image.fromarray((radiograph.pixels[0] * 255).astype(np.uint8)).convert("RGB").resize((SIDE, SIDE))
    enlarged = {k: _enlarge(v.astype(np.uint8) * 255) >= 128 for k, v in prediction.masks.items()}
    saliency = prediction.pictured_saliency
    if saliency is not None:
        saliency = _enlarge((saliency * 255).astype(np.uint8)) / np.float32(255)
    answer = overlay(np.asarray(grey).transpose(2, 0, 1).astype(np.float32) / 255, enlarged, saliency)
    sheet = Image.new("RGB", (2 * SIDE + 8, SIDE + BAR), "white")
    sheet.paste(grey, (0, 0))
    sheet.paste(Image.fromarray(answer), (SIDE + 8, 0))
    words = "   ".join(f"{name} {p:.2f}" for name, p in prediction.probabilities.items())
    areas = "   ".join(f"{name} {prediction.area_px(name):,} px" for name in prediction.masks)
    draw = ImageDraw.Draw(sheet)
    draw.text((SIDE + 8, SIDE + 10), f"{words}   {areas}", "black", ImageFont.load_default(16))
    target = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "answer.png"
    target.parent.mkdir(exist_ok=True)
    sheet.save(target)


def _enlarge(values: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(values).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


if __name__ == "__main__":
    main(*sys.argv[1:])
