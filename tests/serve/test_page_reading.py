"""Reading an image on the page: patient, window, several files, rejections, thresholds, overlays, small windows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import services
from pages import Page, served
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import studies
from bright import picky
from multimix.inference.load import load
from multimix.inference.predictor import Predictor
from multimix.networks.load import ModelSpec
from multimix.reliability.calibration import Reliability


def test_patient_date_and_view_stand_over_a_dicom_image(page: Page):
    film = studies.dx(
        PatientName="DOE^JANE",
        PatientID="12-34",
        PatientSex="F",
        AcquisitionDate="20240131",
        ViewPosition="PA",
    )
    page.choose("film.dcm", services.file_of(film))
    said = page["shown-patient"].text
    for words in ("DOE, JANE", "ID 12-34", "2024-01-31", "view PA"):
        assert words in said
    page.choose("chest.png", services.encoded("PNG"))
    assert not page["shown-patient"].is_displayed()


def test_window_level_and_invert(page: Page):
    # 12 bits: 1000 left, 1040 right, a hundredth of the range apart; corners black and white.
    film = np.full((64, 64), 1000, np.uint16)
    film[:, 32:] = 1040
    film[:2], film[-2:] = 0, 4095
    page.choose("film.dcm", services.file_of(studies.dx(film)))
    page.slide("mask-opacity", 0)
    page.slide("window-width", 100)
    page.slide("window-level", 50)
    left, right = page.level(0.45)[0], page.level(0.55)[0]
    assert (left, right) == (
        pytest.approx(1000 * 255 / 4095, abs=1.5),
        pytest.approx(1040 * 255 / 4095, abs=1.5),
    )
    page.slide("window-level", 25)
    page.slide("window-width", 2)  # from 24 to 26 % of the range: 1000 is 24.4 %, 1040 is 25.4 %
    assert page["width-value"].text == "2 %"
    left, right = page.level(0.45)[0], page.level(0.55)[0]
    # In 8 bits they would be 62 and 65 of 255 and 64 apart or nothing.
    assert left == pytest.approx(255 * (1000 / 4095 - 0.24) / 0.02, abs=4)
    assert right == pytest.approx(255 * (1040 / 4095 - 0.24) / 0.02, abs=4)
    page["invert"].click()
    assert page.level(0.45)[0] == 255 - left
    assert page["invert"].get_attribute("aria-pressed") == "true"
    page["viewer"].send_keys("i")
    assert page.level(0.45)[0] == left
    before = page["width-value"].text
    drag = ActionChains(page.browser).key_down(Keys.SHIFT).click_and_hold(page["canvas"])
    drag.move_by_offset(80, 0).release().key_up(Keys.SHIFT).perform()
    assert page["width-value"].text != before
    page["window-reset"].click()
    assert page["width-value"].text != "2 %"


def test_several_files_one_after_another(page: Page):
    contents = {
        "one.png": services.encoded("PNG", services.pixels(60, 50, seed=1)),
        "letter.txt": b"The patient is well.",
        "two.png": services.encoded("PNG", services.pixels(70, 50, seed=2)),
    }
    for name, content in contents.items():
        (page.folder / name).write_bytes(content)
    page["file"].send_keys("\n".join(str(page.folder / name) for name in contents))
    page.shows("one.png")
    page.wait(lambda: "waiting" not in page["file-list"].text)
    lines = [item.text.split("\n") for item in page["file-list"].find_elements(By.TAG_NAME, "button")]
    assert [line[0] for line in lines] == list(contents)
    assert lines[1][1] == "cannot be used"
    assert "%" in lines[2][1]
    page["viewer"].send_keys("n")
    page.shows("letter.txt")
    assert "Is not a PNG" in page["error"].text
    page["file-list"].find_elements(By.TAG_NAME, "button")[2].click()
    page.shows("two.png")
    assert "50 × 70" in page["shown-name"].text
    assert lines[2][1] in page["result"].text.replace("\n", " ")
    page["viewer"].send_keys("p")
    page.shows("letter.txt")
    page["clear"].click()
    assert page["empty"].is_displayed()
    assert not page["files"].is_displayed()


def test_a_rejected_image_is_shown_with_its_reason_and_answered_anyway(
    browser: webdriver.Chrome, run: Path, predictor: Predictor, tmp_path: Path
):
    with served(browser, run, replace(predictor, reliability=picky()), tmp_path) as page:
        page.choose("wall.png", services.encoded("PNG", np.full((40, 40), 90, np.uint8)))
        said = page["result"].text
        assert said.startswith("Rejected")
        assert "Is of one grey level throughout" in said
        assert "force" not in said
        assert not any(name in said for name in predictor.spec.classes)
        assert page["canvas"].is_displayed()
        assert not page["downloads"].is_displayed()
        page["force"].click()
        page.wait(lambda: "NORMAL" in page["result"].text)
        assert "Answered on request, although rejected: Is of one grey level" in page["result"].text
        assert not page["force"].is_displayed()
        lateral = services.file_of(studies.dx(ViewPosition="LL", ViewCodeSequence=None))
        page.choose("lateral.dcm", lateral)
        assert "A lateral view (View Position LL)" in page["result"].text
        assert page["force"].is_displayed()


def test_the_threshold_explains_a_decision_against_the_larger_probability(
    browser: webdriver.Chrome, run: Path, predictor: Predictor, tmp_path: Path
):
    image = services.pixels()
    likeliest = max(predictor(image).probabilities.items(), key=lambda pair: pair[1])[0]
    other = next(name for name in predictor.spec.classes if name != likeliest)
    low = min(predictor(image).probabilities.values()) / 2
    point = tuple(low if name == other else 1 - low for name in predictor.spec.classes)
    with served(
        browser, run, replace(predictor, reliability=Reliability(thresholds=point)), tmp_path
    ) as page:
        page.choose("chest.png", services.encoded("PNG", image))
        verdict = page.browser.find_element(By.CLASS_NAME, "verdict").text
        assert verdict.endswith(other)
        said = page["result"].text
        assert f"{likeliest} is more probable" in said
        assert f"but {other} is decided from {100 * low:.1f} % on." in said
        assert "sensitivity and specificity are best on average for the validation images" in said
        assert len(page.browser.find_elements(By.CLASS_NAME, "threshold")) == 2
        assert page.browser.find_elements(By.CSS_SELECTOR, ".classes li")[0].text.startswith(other)


def test_overlays_are_thin_or_off_at_first(page: Page):
    page.choose("chest.png", services.encoded("PNG", services.pixels(200, 160)))
    assert page["saliency-value"].text == "0 %"
    assert "need not be where a disease is" in page["saliency-note"].text
    assert "saliency" not in page["legend"].text
    page.slide("saliency-opacity", 40)
    assert "saliency" in page["legend"].text
    page.slide("mask-opacity", 0)
    assert "lungs" not in page["legend"].text


@pytest.mark.parametrize("size", [(1200, 900), (700, 500), (500, 700), (500, 420)])
def test_the_tool_bar_lies_beside_the_image(page: Page, size: tuple[int, int]):
    page.browser.set_window_size(*size)
    try:
        page.choose("chest.png", services.encoded("PNG", services.pixels(400, 100)))
        stage, bar, note = (page.lies(name) for name in ("stage", "toolbar", "note"))
        assert note["bottom"] <= stage["top"]
        assert stage["bottom"] <= bar["top"]
        assert stage["height"] > 100
        viewer = page.lies("viewer")
        assert viewer["left"] <= bar["left"]
        assert bar["right"] <= viewer["right"]
        wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.browser.execute_script(wide) == 0
    finally:
        page.browser.set_window_size(1200, 900)


def test_the_page_speaks_of_what_the_model_was_trained_for(browser: webdriver.Chrome, tmp_path: Path):
    spec = ModelSpec(("benign", "melanoma"), ("lesion",), size=32, channels=3, widths=(4, 4, 8, 8, 8))
    run = services.weights(tmp_path / "run", spec)
    rows = "labelled_classes,a.png,benign,isic,1\nlabelled_masks,b.png,,moles,2\n"
    (run / "split.csv").write_text(f"role,image,label,source,patient\n{rows}", encoding="utf-8")
    with served(browser, run, load(run), tmp_path) as page:
        assert page["invitation"].text == "Drop an image here"
        assert "isic (1 with classes) and moles (1 with masks)" in page["trained-for"].text
        skin = np.zeros((40, 40, 3), np.uint8)
        skin[..., 0] = 200
        skin[:20, :, 1] = 120
        page.choose("skin.png", services.encoded("PNG", skin))
        words = page.browser.execute_script("return document.body.textContent + document.title").lower()
        for wrong in ("chest", "x-ray", "lung", "pneumonia"):
            assert wrong not in words
        assert "melanoma" in words
        page.slide("mask-opacity", 0)
        assert page.level(0.5, 0.75) == [200, 0, 0]  # in colour


def test_shipped_weights_are_introduced(browser: webdriver.Chrome, tmp_path: Path):
    with served(browser, Path("chest-xray"), load("chest-xray"), tmp_path) as page:
        assert page["invitation"].text == "Drop a frontal chest X-ray here"
        about_model = page["card"].get_attribute("textContent")
        assert "not known" not in about_model
        assert "kermany, test (490)" in about_model
        assert "0.978 (0.963 to 0.987)" in about_model
        assert "PNEUMONIA from 28.0 %" in about_model
        assert "lateral" not in page.browser.find_element(By.CLASS_NAME, "limits").text
