"""What the API answers to requests that are right."""

import base64
import json
import socket
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
import services
from click.testing import CliRunner
from pydicom.pixels import pixel_array
from services import client_of, encoded, file_of, opened

import studies
from bright import picky
from multimix.cli.serve import serve
from multimix.errors import UsageError
from multimix.inference.load import load
from multimix.inference.predictor import Predictor
from multimix.io.overlay import overlay
from multimix.io.readers import read_image_bytes
from multimix.serve.about import about
from multimix.serve.app import create_app
from multimix.serve.server import listen
from multimix.serve.settings import Settings, settings_for
from multimix.types import Prediction
from multimix.weights.file import ModelSpec

PREDICT = "/v1/predict"


def direct(predictor: Predictor, data: bytes) -> Prediction:
    """What `predict` says about the same file."""
    return next(predictor.predict_radiographs([read_image_bytes(data, "x", 1)]))


def part(data: bytes, name: str = "x.png") -> tuple[str, tuple[str, bytes, str]]:
    return ("files", (name, data, "application/octet-stream"))


def test_json_is_the_predictors_answer(client: httpx.Client, predictor: Predictor):
    data = encoded("PNG")
    response = client.post(PREDICT, files=[part(data, "chest.png")])
    expected = direct(predictor, data)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert answer["notice"] == "Not for clinical use."
    assert answer["files"] == [
        {
            "name": "chest.png",
            "status": "ok",
            "height": 48,
            "width": 40,
            "predicted": expected.predicted,
            "decision": expected.decision,
            "thresholds": {"NORMAL": 0.5, "PNEUMONIA": 0.5},
            "probabilities": {k: round(p, 6) for k, p in expected.probabilities.items()},
            "area_px": {"lungs": expected.area_px("lungs")},
        }
    ]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "DICOM"])
def test_each_kind_is_read(client: httpx.Client, predictor: Predictor, kind: str):
    data = file_of(studies.cr()) if kind == "DICOM" else encoded(kind)
    answer = client.post(PREDICT, files=[part(data, "wrong.suffix")], params={"mask": True}).json()["files"][
        0
    ]
    expected = direct(predictor, data)
    np.testing.assert_array_equal(
        opened(base64.b64decode(answer["mask"]["lungs"])), expected.masks["lungs"].astype(np.uint8) * 255
    )
    assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)


def test_dicom_spacing_gives_an_area(client: httpx.Client):
    answer = client.post(PREDICT, files=[part(file_of(studies.cr()))]).json()["files"][0]
    assert (answer["height"], answer["width"]) == (150, 110)
    assert answer["spacing_mm"] == [0.2, 0.175]
    assert answer["spacing_note"]
    assert answer["area_mm2"]["lungs"] == pytest.approx(answer["area_px"]["lungs"] * 0.2 * 0.175, abs=0.006)


def test_pictures_in_the_json(client: httpx.Client, predictor: Predictor):
    data = encoded("PNG")
    asked = dict.fromkeys(("image", "saliency", "overlay"), True)
    answer = client.post(PREDICT, files=[part(data)], params=asked).json()["files"][0]
    radiograph, expected = read_image_bytes(data, "x", 1), direct(predictor, data)
    shown = {name: opened(base64.b64decode(answer[name])) for name in asked}
    np.testing.assert_array_equal(
        shown["overlay"], overlay(radiograph.pixels, expected.masks, expected.saliency)
    )
    np.testing.assert_array_equal(shown["image"], overlay(radiograph.pixels, {}, None)[..., 1])
    assert expected.saliency is not None
    np.testing.assert_allclose(shown["saliency"] / 255, expected.saliency, atol=0.5 / 255 + 1e-6)
    assert "mask" not in answer


def test_the_values_of_the_image_in_the_json(client: httpx.Client):
    def values(data: bytes, address: httpx.Client = client) -> tuple[int, np.ndarray]:
        sent = address.post(PREDICT, files=[part(data)], params={"pixels": True}).json()["files"][0]["pixels"]
        return sent["bits"], opened(base64.b64decode(sent["png"]))

    bits, seen = values(encoded("PNG"))
    assert bits == 8
    np.testing.assert_array_equal(seen, services.pixels())
    # 12 bits do not fit into 8: high bytes left, low bytes right.
    film = file_of(studies.dx())
    bits, seen = values(film)
    assert (bits, seen.shape) == (16, (128, 256))
    whole = seen[:, :128].astype(np.float64) * 256 + seen[:, 128:]
    np.testing.assert_allclose(whole / 65535, read_image_bytes(film, "x").pixels[0], atol=1 / 65535)


def test_colour_models_show_colour(tmp_path: Path):
    run = services.weights(tmp_path, ModelSpec(("a", "b"), (), size=32, channels=3, widths=(2,) * 5))
    skin = np.random.default_rng(0).integers(0, 256, (40, 36, 3), np.uint8)
    with client_of(create_app(load(run), about(run, load(run)), Settings())) as client:
        sent = client.post(PREDICT, files=[part(encoded("PNG", skin))], params={"pixels": True}).json()
    values = sent["files"][0]["pixels"]
    assert values["bits"] == 8
    np.testing.assert_array_equal(opened(base64.b64decode(values["png"])), skin)


def test_patient_and_date_are_sent_where_they_are_asked_for(client: httpx.Client):
    film = file_of(studies.dx(PatientName="DOE^JANE"))
    plain, asked = (
        client.post(PREDICT, files=[part(film)], params={"header": header}).json()["files"][0]
        for header in (False, True)
    )
    assert "DOE" not in json.dumps(plain)
    assert asked["header"]["patient"] == "DOE, JANE"
    (line,) = client.post(PREDICT, files=[part(encoded("PNG"))], params={"header": True}).json()["files"]
    assert "header" not in line


def test_one_picture_is_a_png(client: httpx.Client, predictor: Predictor):
    data = encoded("PNG")
    response = client.post(PREDICT, files=[part(data)], params={"format": "mask"})
    assert response.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(opened(response.content) > 0, direct(predictor, data).masks["lungs"])
    for kind in ("overlay", "saliency"):
        response = client.post(PREDICT, files=[part(data)], params={"format": kind})
        assert opened(response.content).shape[:2] == (48, 40)


def test_several_pictures_are_a_zip_named_by_number(client: httpx.Client):
    names = ["../../etc/passwd", "a.png", "a.png"]
    parts = [part(encoded("PNG", services.pixels(seed=i)), name) for i, name in enumerate(names)]
    parts.insert(1, part(b"no image", "letter.txt"))
    response = client.post(PREDICT, files=parts, params={"format": "overlay"})
    assert response.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(BytesIO(response.content)) as archive:
        assert archive.namelist() == ["answers.json", "1/overlay.png", "3/overlay.png", "4/overlay.png"]
        lines = json.loads(archive.read("answers.json"))["files"]
    assert [line["status"] for line in lines] == ["ok", "failed", "ok", "ok"]
    assert [line["name"] for line in lines] == ["passwd", "letter.txt", "a.png", "a.png"]


def test_dicom_answers_refer_to_the_image(client: httpx.Client, predictor: Predictor):
    source = studies.cr()
    data = file_of(source)
    response = client.post(PREDICT, files=[part(data)], params={"format": "dicom"})
    assert response.status_code == 200, response.text
    with zipfile.ZipFile(BytesIO(response.content)) as archive:
        objects = [
            pydicom.dcmread(BytesIO(archive.read(n))) for n in archive.namelist() if n.endswith(".dcm")
        ]
    assert [o.Modality for o in objects] == ["SEG", "SR", "OT"]
    assert {o.StudyInstanceUID for o in objects} == {source.StudyInstanceUID}
    segments = pixel_array(objects[0])
    np.testing.assert_array_equal(np.squeeze(segments) > 0, direct(predictor, data).masks["lungs"])
    again = client.post(PREDICT, files=[part(data)], params={"format": "dicom"})
    with zipfile.ZipFile(BytesIO(again.content)) as archive:
        seg = pydicom.dcmread(BytesIO(archive.read("1/1_seg.dcm")))
    assert seg.SOPInstanceUID == objects[0].SOPInstanceUID


def test_dicom_answer_to_a_png_is_refused(client: httpx.Client):
    response = client.post(PREDICT, files=[part(encoded("PNG"))], params={"format": "dicom"})
    assert response.status_code == 422
    assert "needs a DICOM image" in response.json()["detail"]


def test_a_lateral_view_needs_force(client: httpx.Client):
    data = file_of(studies.dx(ViewPosition="LL", ViewCodeSequence=None))
    refused = client.post(PREDICT, files=[part(data)])
    assert refused.status_code == 422
    assert "use force=true" in refused.json()["detail"]
    forced = client.post(PREDICT, files=[part(data)], params={"force": True})
    assert forced.status_code == 200
    assert forced.json()["files"][0]["rejection"] == "A lateral view (View Position LL)"


def test_good_files_are_answered_beside_bad_ones(client: httpx.Client):
    parts = [part(b"text", "a.txt"), part(encoded("PNG")), part(b"", "empty.png")]
    response = client.post(PREDICT, files=parts)
    assert response.status_code == 200
    lines = response.json()["files"]
    assert [line["status"] for line in lines] == ["failed", "ok", "failed"]
    assert lines[0]["error"].startswith("Is not a PNG, JPEG or DICOM file")
    assert lines[2]["error"].startswith("Is empty")


def test_range_holds_the_probability_and_that_of_a_shifted_image(client: httpx.Client, predictor: Predictor):
    # At the model's own size a shift by 2 % of 32 is one pixel, with the edge repeated.
    array = services.pixels(32, 32)
    answer = client.post(PREDICT, files=[part(encoded("PNG", array))], params={"stability": True}).json()[
        "files"
    ][0]
    shifted = np.concatenate([array[:1], array[:-1]])
    for name, (low, high) in answer["p_range"].items():
        for image in (array, shifted):
            p = direct(predictor, encoded("PNG", image)).probabilities[name]
            assert low - 1e-5 <= p <= high + 1e-5
        assert 0 <= low < high <= 1
    assert "stability, not of correctness" in answer["p_range_of"]


def test_the_card_tells_what_the_run_knows(tmp_path: Path):
    run = services.weights(tmp_path / "run")
    assert "no interval" in about(run, load(run)).card["intervals"]
    assert about(run, load(run)).card["scores"] == []
    folder = run / "evaluation" / "test-wards"
    folder.mkdir(parents=True)
    metrics = {"auc": {"value": 0.9, "low": 0.8, "high": 0.95, "trivial": 0.5}, "brier": {"value": 0.1}}
    score = {"source": "wards", "split": "test", "images": 7, "patients": 5, "metrics": metrics}
    (folder / "scores.json").write_text(json.dumps({"scores": [score]}))
    other = run / "evaluation" / "broken"
    other.mkdir()
    (other / "scores.json").write_text('{"scores": [1]}')
    line = {"source": "wards", "split": "test", "images": 7, "metric": "auc", **metrics["auc"]}
    assert about(run, load(run)).card["scores"] == [line]


@pytest.mark.parametrize(
    ("spec", "format"),
    [
        (ModelSpec((), ("lungs", "heart"), size=32, widths=(4, 4, 8, 8, 8), bridge=False), "saliency"),
        (ModelSpec(("A", "B"), (), size=32, widths=(4, 4, 8, 8, 8)), "mask"),
    ],
)
def test_half_a_model_answers_its_half(tmp_path: Path, spec: ModelSpec, format: str):
    run = services.weights(tmp_path, spec)
    predictor = load(run)
    with client_of(create_app(predictor, about(run, predictor), Settings())) as client:
        refused = client.post(PREDICT, files=[part(encoded("PNG"))], params={"format": format})
        assert refused.status_code == 422
        everything = dict.fromkeys(("mask", "saliency", "overlay", "image", "stability"), True)
        answer = client.post(PREDICT, files=[part(encoded("PNG"))], params=everything).json()["files"][0]
        assert ("probabilities" in answer, "saliency" in answer, "p_range" in answer) == (
            bool(spec.classes),
        ) * 3
        assert ("area_px" in answer, "mask" in answer) == (bool(spec.structures),) * 2
        if spec.structures:
            zipped = client.post(PREDICT, files=[part(encoded("PNG"))], params={"format": "mask"})
            with zipfile.ZipFile(BytesIO(zipped.content)) as archive:
                assert archive.namelist()[1:] == ["1/mask_lungs.png", "1/mask_heart.png"]


def test_state_and_metrics(client: httpx.Client):
    assert client.get("/health").json() == client.get("/ready").json() == {"status": "ok"}
    client.post(PREDICT, files=[part(encoded("PNG")), part(b"x", "secret-name.png")])
    text = client.get("/metrics").text
    assert 'multimix_requests_total{status="200"}' in text
    assert 'multimix_images_total{status="failed"}' in text
    assert "multimix_batch_images_bucket" in text
    assert "secret-name" not in text


def test_ready_says_no_once_closed(run: Path, predictor: Predictor):
    app = create_app(predictor, about(run, predictor), Settings())
    with client_of(app) as client:
        app.state.service._batcher.close()
        assert client.get("/ready").status_code == 503
        assert client.get("/health").status_code == 200


def test_page_and_its_files(client: httpx.Client):
    page = client.get("/")
    assert page.status_code == 200
    assert "Not for clinical use" in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    for name, kind in {"main.js": "javascript", "style.css": "css", "icon.svg": "svg"}.items():
        assert kind in client.get(f"/static/{name}").headers["content-type"]
    assert client.get("/static/../app.py").status_code == 404


def test_settings_for_an_address():
    token = "0123456789abcdef"
    assert settings_for("127.0.0.1", None).token is None
    assert settings_for("0.0.0.0", token).hosts is None
    assert settings_for("127.0.0.1", token, ("Xray.Example",)).hosts >= {"localhost", "xray.example"}
    for host, given in (("0.0.0.0", None), ("192.168.1.5", None), ("::", None), ("127.0.0.1", "short")):
        with pytest.raises(UsageError):
            settings_for(host, given)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--host", "0.0.0.0"), "--token-file"),
        (("--token-file", "missing.txt"), "cannot be read"),
        (("--host", "not a host", "--token-file", "TOKEN"), "cannot be listened at"),
    ],
)
def test_command_refuses_to_start(run: Path, tmp_path: Path, arguments: tuple[str, ...], said: str):
    (tmp_path / "token.txt").write_text("0123456789abcdef\n")
    given = [a.replace("TOKEN", str(tmp_path / "token.txt")) for a in arguments]
    result = CliRunner().invoke(serve, [str(run), *given])
    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)


def test_answers_are_not_held_back_for_receipts():
    with listen("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    with listen("::1", 0) as listener:
        assert listener.family == socket.AF_INET6


@pytest.fixture(scope="module")
def picky_client(run: Path, predictor: Predictor) -> Iterator[httpx.Client]:
    """A client of a service whose model rejects images of one grey level."""
    model = replace(predictor, reliability=picky())
    with client_of(create_app(model, about(run, model), Settings())) as client:
        yield client


def test_an_image_unlike_those_learned_from_is_rejected(picky_client: httpx.Client):
    flat = encoded("PNG", np.full((40, 40), 90, np.uint8))
    refusal = picky_client.post(PREDICT, files=[part(flat, "wall.png")])
    assert refusal.status_code == 422
    body = refusal.json()
    assert body["detail"].startswith("Is of one grey level")
    reason = "Is of one grey level throughout, so there is nothing to answer"
    assert body["detail"] == f"{reason}; check the image, or use force=true"
    expected = {"name": "wall.png", "status": "rejected", "rejection": reason, "error": body["detail"]}
    assert body["files"] == [expected | {"height": 40, "width": 40}]
    # The image itself can be seen.
    seen = picky_client.post(PREDICT, files=[part(flat)], params={"pixels": True, "mask": True}).json()
    np.testing.assert_array_equal(opened(base64.b64decode(seen["files"][0]["pixels"]["png"])), 90)
    assert "mask" not in seen["files"][0]
    for format in ("mask", "overlay"):
        assert picky_client.post(PREDICT, files=[part(flat)], params={"format": format}).status_code == 422
    both = picky_client.post(PREDICT, files=[part(flat), part(encoded("PNG"))])
    assert both.status_code == 200
    assert [file["status"] for file in both.json()["files"]] == ["rejected", "ok"]
    assert "mask" not in both.json()["files"][0]
    forced = picky_client.post(PREDICT, files=[part(flat)], params={"force": True})
    assert (forced.status_code, forced.json()["files"][0]["status"]) == (200, "ok")
    assert forced.json()["files"][0]["rejection"] == reason
    assert forced.json()["files"][0]["predicted"]
    assert 'multimix_images_total{status="rejected"} 5.0' in picky_client.get("/metrics").text


def test_prediction_sets_and_what_they_promise(picky_client: httpx.Client):
    (line,) = picky_client.post(PREDICT, files=[part(encoded("PNG"))]).json()["files"]
    assert line["prediction_set"] == ["NORMAL", "PNEUMONIA"]
    assert "at least 90 %" in picky_client.get("/v1/model").json()["intervals"]
