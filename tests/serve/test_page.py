"""The page in a headless Chromium: an image comes in, the answer is shown, sliders and keys work, errors are told."""

import json
from pathlib import Path

import services
from pages import CONTRAST, Page
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import studies
from multimix.inference.predictor import Predictor
from multimix.serve.about import about
from multimix.serve.app import create_app
from multimix.serve.settings import Settings

TOKEN = "correct-horse-battery-staple"


def test_an_xray_is_answered_and_nothing_else_is_asked(page: Page, address: str):
    assert page["empty"].is_displayed()
    assert not page["downloads"].is_displayed()
    page.choose("chest.png", services.encoded("PNG", services.pixels(200, 160)))
    result = page["result"].text
    assert "NORMAL" in result
    assert "PNEUMONIA" in result
    assert "range" in result
    assert "Area" not in result  # a PNG does not say how large its pixels are
    assert "chest.png" in page["canvas"].get_attribute("aria-label")
    assert "160 × 200" in page["shown-name"].text
    assert not page["empty"].is_displayed()
    assert page.browser.get_log("browser") == []
    asked = {event["request"]["url"] for event in page.events("Network.requestWillBeSent")}
    assert any("/v1/predict" in url for url in asked)
    # A browser that starts slowly may still be loading its own chrome:// pages.
    elsewhere = [url for url in asked if not url.startswith((address, "blob:", "data:", "chrome:"))]
    assert elsewhere == []


def test_sliders_and_keys_change_the_picture(page: Page):
    page.choose("chest.png", services.encoded("PNG", services.pixels(200, 160)))
    seen = [page.canvas()]
    page.slide("mask-opacity", 10)
    assert page["mask-value"].text == "10 %"
    assert page.redrawn(seen)
    page.slide("saliency-opacity", 95)
    assert page.redrawn(seen)
    keys = page["viewer"]
    for key in ("h", "+", Keys.ARROW_LEFT, "-", "1"):
        keys.send_keys(key)
        assert page.redrawn(seen), key
    assert page["mask-value"].text == page["saliency-value"].text == "0 %"
    keys.send_keys("0")
    keys.send_keys("h")
    assert (page["mask-value"].text, page["saliency-value"].text) == ("10 %", "95 %")
    page.slide("mask-opacity", 60)
    page.slide("saliency-opacity", 0)
    page.wait(lambda: page.canvas() == seen[0])
    zoom = page["zoom"].text
    page["zoom-in"].click()
    assert page["zoom"].text != zoom
    page["fit"].click()
    assert page["zoom"].text == zoom
    assert page.browser.get_log("browser") == []


def test_a_text_file_is_told_and_the_next_one_answered(page: Page):
    page.choose("letter.txt", b"The patient is well.\n")
    assert page["error"].is_displayed()
    assert page["error"].get_attribute("role") == "alert"
    assert page["error"].text.startswith("letter.txt: Is not a PNG, JPEG or DICOM file")
    assert not page["toolbar"].is_displayed()
    page.choose("chest.jpg", services.encoded("JPEG"))
    assert not page["error"].is_displayed()
    assert "PNEUMONIA" in page["result"].text


def test_dicom_is_shown_with_its_area(page: Page):
    page.choose("film.dcm", services.file_of(studies.cr()))
    assert "110 × 150" in page["shown-name"].text
    assert "Area, lungs" in page["result"].text
    assert "cm²" in page["result"].text
    assert "px" not in page["result"].text
    assert "0.2 × 0.175 mm" in page["result"].text


def test_a_name_is_never_html(page: Page):
    name = "<img src=x onerror=alert(1)>.png"
    page.choose(name, services.encoded("PNG"))
    assert name in page["shown-name"].text
    assert not page.browser.find_elements(By.CSS_SELECTOR, "img")


def test_downloads(page: Page):
    page.choose("chest.png", services.encoded("PNG", services.pixels(200, 160)))
    for button in ("get-mask", "get-overlay", "get-json"):
        page[button].click()
    folder = page.browser.downloads
    files = {name: folder / f"chest_{name}" for name in ("mask_lungs.png", "overlay.png", "answer.json")}
    page.wait(lambda: all(file.exists() and file.stat().st_size for file in files.values()))
    with Image.open(files["mask_lungs.png"]) as mask, Image.open(files["overlay.png"]) as picture:
        assert mask.size == (160, 200)
        assert picture.width == 160
        assert picture.height > 200  # a strip says what it is not for
    assert json.loads(files["answer.json"].read_text())["files"][0]["name"] == "chest.png"


def test_every_control_has_a_name_and_text_has_contrast(page: Page):
    page.choose("chest.png", services.encoded("PNG"))
    for control in page.browser.find_elements(By.CSS_SELECTOR, "button, input, canvas"):
        assert control.accessible_name or not control.is_displayed(), control.get_attribute("outerHTML")
    for panel in page.browser.find_elements(By.TAG_NAME, "details"):
        page.browser.execute_script("arguments[0].open = true", panel)
    themes = set()
    for _ in range(2):
        themes.add(page.browser.execute_script("return document.documentElement.dataset.theme"))
        assert page.browser.execute_script(CONTRAST) == []
        page["theme"].click()
    assert themes == {"light", "dark"}


def test_a_service_with_a_token_asks_for_it(
    browser: webdriver.Chrome, run: Path, predictor: Predictor, tmp_path: Path
):
    app = create_app(predictor, about(run, predictor), Settings(TOKEN))
    with services.client_of(app) as client:
        page = Page(browser, tmp_path)
        page.browser.get(f"http://127.0.0.1:{client.base_url.port}")
        page.wait(page["token-form"].is_displayed)
        page["token"].send_keys("wrong", Keys.ENTER)
        page.wait(page["token-form"].is_displayed)
        page["token"].clear()
        page["token"].send_keys(TOKEN, Keys.ENTER)
        page.wait(lambda: "lungs" in page["model-line"].text)
        page.choose("chest.png", services.encoded("PNG"))
        assert "PNEUMONIA" in page["result"].text


def test_the_page_without_its_service_says_so(
    browser: webdriver.Chrome, run: Path, predictor: Predictor, tmp_path: Path
):
    page = Page(browser, tmp_path)
    with services.client_of(create_app(predictor, about(run, predictor), Settings())) as client:
        page.open(f"http://127.0.0.1:{client.base_url.port}")
    page.choose("chest.png", services.encoded("PNG"))
    assert "cannot be reached" in page["error"].text
