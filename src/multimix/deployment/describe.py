"""What an exported model says about itself: its inputs and outputs in words, and the entries of its metadata."""

import dataclasses
import json
from collections.abc import Mapping
from importlib.metadata import version

from multimix import __version__
from multimix.deployment.graph import PIXELS, Graph
from multimix.reliability.calibration import Reliability
from multimix.reliability.map_verdict import in_words
from multimix.weights import shipped_card, shipped_terms
from multimix.weights.exported import header
from multimix.weights.file import WeightsFile

NOTICE = "Not for clinical use."
SPACING = (
    "Masks have the image's own pixels, and the graph knows no millimetres: area = pixels x row spacing x column "
    "spacing, of the file's own PixelSpacing or ImagerPixelSpacing. The latter is measured at the detector and not "
    "corrected for magnification."
)
UPRIGHT = "as a frontal chest is looked at, upright and not mirrored, 0 black"


def input_text(graph: Graph, pixels: str) -> str:
    """The input in words."""
    channels = "grey" if graph.spec.channels == 1 else "RGB"
    return (
        f"Images (batch {graph.spec.channels} height width), {channels}, {pixels}, of any size, from 0 to "
        f"{PIXELS[pixels]:g}; {UPRIGHT}."
    )


def output_texts(graph: Graph) -> dict[str, str]:
    """Output -> what it is, with its shape and range."""
    spec, known, size = graph.spec, graph.reliability, graph.spec.size
    point = known.operating_point(len(spec.classes), spec.multi_label)
    limits = f"; the thresholds are {', '.join(f'{t:.6g}' for t in point)}" if point else ""
    of_classes, of_structures = (
        f"in the order {', '.join(spec.classes)}",
        f"in the order {', '.join(spec.structures)}",
    )
    kind = "each in [0, 1]" if spec.multi_label else "their sum is 1"
    chosen = "p >= threshold" if spec.multi_label else "the class of the largest p / threshold"
    detector = known.detector
    texts = {
        "class_logits": f"(batch {len(spec.classes)}) float32, not calibrated, {of_classes}.",
        "probabilities": f"(batch {len(spec.classes)}) float32, calibrated, {kind}, {of_classes}.",
        "decision": f"(batch {len(spec.classes)}) bool, {chosen}, {of_classes}{limits}.",
        "prediction_set": f"(batch {len(spec.classes)}) bool, the classes that are not ruled out at a coverage of "
        f"{known.coverage:g}, {of_classes}.",
        "saliency": "(batch 1 height width) float32, at least 0, not scaled: what in the picture speaks for "
        "the winning class. To show it, divide it by its 99.5th percentile and cut it at 1.",
        "mask_logits": f"(batch {len(spec.structures)} {size} {size}) float32, at the model's own size, "
        f"{of_structures}.",
        "masks": f"(batch {len(spec.structures)} height width) float32, probability of each structure, inside from 0.5 "
        f"on, {of_structures}.",
        "ood_distance": "(batch) float32, distance from the images that the model learned from in standard deviations"
        + ("" if detector is None else f"; refused above {detector.far:.6g}")
        + "; infinite for an image of one grey level.",
        "outlier": "(batch) bool, whether the image is unlike those that the model learned from, in another position "
        "or a part of one, and its answer not to be used. multimix refuses pictures in colour and clipped ones too.",
    }
    return {name: texts[name] for name in graph.names}


def entries(file: WeightsFile, graph: Graph, pixels: str, precision: str) -> dict[str, str]:
    """The metadata of an exported model, all of it text."""
    spec, known = file.spec, file.reliability or Reliability()
    card = shipped_card(file.path)
    texts: Mapping[str, object] = {
        "notice": NOTICE,
        "multimix": __version__,
        "versions": {name: version(name) for name in ("torch", "onnx", "onnxscript")},
        "weights_sha256": file.digest,
        "pixels": pixels,
        "precision": precision,
        "input": input_text(graph, pixels),
        "outputs": output_texts(graph),
        "classes": spec.classes,
        "structures": spec.structures,
        "temperature": known.temperature,
        "thresholds": known.operating_point(len(spec.classes), spec.multi_label),
        "spacing": SPACING,
        "map_verdict": in_words(file.verdict),
        "card": card,
        "licence": shipped_terms(file.path) or "None is known; ask whoever trained the model.",
    }
    made = {name: value if isinstance(value, str) else json.dumps(value) for name, value in texts.items()}
    return made | header(dataclasses.asdict(spec), file.reliability, file.trivial_masks, file.verdict)
