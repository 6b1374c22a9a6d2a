"""One image, one answer: Python, the command line, the service and the archive worker say the same of it.

Three kinds of image: one that is answered, one where the operating point decides against the larger probability, and
those that the model is not for, by their pixels or by their DICOM header.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
import services
from click.testing import CliRunner
from highdicom.sr import srread
from pydicom.dataset import Dataset

import multimix
import studies
from bright import picky
from multimix.cli.predict import predict
from multimix.io.writers import write_png
from multimix.networks.load import save_model
from multimix.pacs.answerer import Answerer
from multimix.pacs.config import REASONS
from multimix.pacs.outcomes import Image
from multimix.pacs.queue import Queue
from multimix.serve.about import about
from multimix.serve.app import create_app
from multimix.serve.settings import Settings
from multimix.types import Prediction

FLAT = "is of one grey level throughout, so there is nothing to answer"
LATERAL = "a lateral view (View Position LL)"


@dataclass(frozen=True)
class Answered:
    """What each way of asking says of an image."""

    predicted: str
    probabilities: Mapping[str, float]
    thresholds: Mapping[str, float]
    rejection: str


NOTHING = Answered("", {}, {}, "")


@pytest.fixture(scope="module")
def image() -> Dataset:
    return studies.dx()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, image: Dataset) -> Path:
    """A run whose operating point decides `image` for the less probable class."""
    folder = services.weights(tmp_path_factory.mktemp("run"))
    file = studies.save(image, folder / "image.dcm")
    plain = multimix.load(folder)(file)
    assert isinstance(plain, Prediction)
    below = min(plain.probabilities.values()) / 2  # which both classes reach, and the less probable one twice
    second = plain.predicted == "NORMAL"
    thresholds = (1 - below, below) if second else (below, 1 - below)
    known = replace(picky(), thresholds=thresholds, quantiles=())
    network = multimix.MultiMix.from_run(folder)
    save_model(folder / "best.safetensors", network.state_dict(), services.SPEC, {}, known)
    return folder


def in_python(run: Path, file: Path, force: bool) -> Answered:
    found = multimix.load(run)(file, force=force)
    assert isinstance(found, Prediction)
    return Answered(found.predicted, found.probabilities, found.thresholds, found.rejection)


def by_command(run: Path, file: Path, force: bool) -> Answered:
    out = file.parent / f"answers_{force}"
    words = ["--force"] if force else []
    CliRunner().invoke(predict, [str(run), str(file), "--out", str(out), *words])
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["status"] == ("ok" if row["predicted"] else "rejected")
    p, t = (
        {name.removeprefix(kind): float(cell) for name, cell in row.items() if name.startswith(kind) and cell}
        for kind in ("p_", "threshold_")
    )
    return Answered(row["predicted"], p, t, row["rejection"])


def by_service(run: Path, file: Path, force: bool) -> Answered:
    predictor = multimix.load(run)
    with services.client_of(create_app(predictor, about(run, predictor), Settings())) as client:
        sent = {"files": (file.name, file.read_bytes())}
        answer = client.post("/v1/predict", files=sent, params={"force": force}).json()
    (line,) = answer["files"]
    assert line["status"] == ("ok" if line.get("predicted") else "rejected")
    reason = line.get("rejection", "")
    return Answered(
        line.get("predicted", ""),
        line.get("probabilities", {}),
        line.get("thresholds", {}),
        reason[:1].lower() + reason[1:],
    )


def by_archive_worker(run: Path, file: Path, force: bool) -> Answered:
    data = pydicom.dcmread(file)
    queue = Queue(file.parent / f"queue_{force}")
    try:
        queue.receive(Image(data.SOPInstanceUID, data.StudyInstanceUID, "1.2"), file.read_bytes())
        (row,) = queue.rows()
        Answerer.load(run, "cpu", REASONS if force else ()).answer(queue, [row])
        (row,) = queue.rows()
        results = [pydicom.dcmread(BytesIO(result.path.read_bytes())) for result in queue.results(row)]
    finally:
        queue.close()
    if not results:
        reason, _, hint = row.reason.removeprefix("rejected: ").partition("; check the image, or use ")
        assert hint in ("--force=view", "--force=unlike")
        return replace(NOTHING, rejection=reason)
    return _reported(next(one for one in results if one.Modality == "SR"))


def _reported(report: Dataset) -> Answered:
    """The answer in a report of ours."""
    buffer = BytesIO()
    report.save_as(buffer, enforce_file_format=True)
    content = srread(BytesIO(buffer.getvalue())).content
    p, predicted, notes = {}, "", report.to_json()
    groups = content.get_image_measurement_groups()
    for name, group in zip(services.SPEC.classes, groups, strict=True):
        (measured,) = group.get_measurements()
        p[name] = measured.value
        (present,) = group.get_qualitative_evaluations()
        if present.value.meaning == "Present":
            predicted = name
    decision = notes.split('"Decision: ')[1].split('"')[0]
    assert decision.startswith(f"{predicted} {p[predicted]:.3f} reaches its threshold ")
    threshold = float(decision.split("threshold ")[1].split(",")[0])
    said = "Answered on request, although rejected: "
    reason = notes.split(said)[1].split('"')[0] if said in notes else ""
    return Answered(predicted, p, {predicted: threshold}, reason)


WAYS = (in_python, by_command, by_service, by_archive_worker)


def the_same(run: Path, file: Path, *, force: bool = False) -> Answered:
    """What all ways say, after they were compared."""
    first, *others = (way(run, file, force) for way in WAYS)
    for way, other in zip(WAYS[1:], others, strict=True):
        assert (other.predicted, other.rejection) == (first.predicted, first.rejection), way
        assert other.probabilities == pytest.approx(first.probabilities, abs=1e-5), way
        told = {name: t for name, t in first.thresholds.items() if name in other.thresholds}
        assert other.thresholds == pytest.approx(told, abs=1e-3), way
        assert bool(other.thresholds) == bool(other.predicted), way
    return first


def test_the_operating_point_decides_against_the_larger_probability(
    run: Path, image: Dataset, tmp_path: Path
):
    answer = the_same(run, studies.save(image, tmp_path / "image.dcm"))
    less, more = sorted(answer.probabilities.values())
    assert less < more
    assert answer.probabilities[answer.predicted] == less > answer.thresholds[answer.predicted]
    assert answer.rejection == ""


def test_an_image_that_is_answered_for_the_larger_probability(
    tmp_path_factory: pytest.TempPathFactory, image: Dataset, tmp_path: Path
):
    plain = services.weights(tmp_path_factory.mktemp("plain"))
    answer = the_same(plain, studies.save(image, tmp_path / "image.dcm"))
    assert answer.probabilities[answer.predicted] == max(answer.probabilities.values()) > 0.5
    assert answer.thresholds == {"NORMAL": 0.5, "PNEUMONIA": 0.5}


@pytest.mark.parametrize("reason", [FLAT, LATERAL])
def test_an_image_that_the_model_is_not_for(run: Path, tmp_path: Path, reason: str):
    flat = studies.dx(np.full((40, 40), 900, np.uint16))
    lateral = studies.dx(ViewPosition="LL", ViewCodeSequence=None)
    file = studies.save(flat if reason == FLAT else lateral, tmp_path / "image.dcm")
    assert the_same(run, file) == replace(NOTHING, rejection=reason)
    forced = the_same(run, file, force=True)
    assert forced.rejection == reason
    assert forced.predicted in ("NORMAL", "PNEUMONIA")


def test_noise_is_rejected_from_python_as_it_is_from_the_command_line(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (256, 256), np.uint8)
    write_png(tmp_path / "noise.png", noise)
    found = multimix.load("chest-xray")(noise)
    assert isinstance(found, Prediction)
    assert (found.predicted, dict(found.probabilities), dict(found.masks)) == ("", {}, {})
    assert found.rejection == "does not look like the images that the model learned from"
    for way in (in_python, by_command, by_service):
        answer = way(Path("chest-xray"), tmp_path / "noise.png", False)
        assert answer == replace(NOTHING, rejection=found.rejection)
