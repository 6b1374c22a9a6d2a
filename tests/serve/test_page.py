"""The page in a headless Chromium: an X-ray comes in, the answer is shown, sliders and keys work, errors are told."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import services
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

import studies
from multimix.inference.predictor import Predictor
from multimix.serve.about import about
from multimix.serve.app import create_app
from multimix.serve.settings import Settings

TOKEN = "correct-horse-battery-staple"
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--window-size=1200,900"),
)


class Page:
    """The page in a browser."""

    def __init__(self, browser: webdriver.Chrome, folder: Path) -> None:
        self.browser = browser
        self.folder = folder

    def __getitem__(self, name: str) -> WebElement:
        return self.browser.find_element(By.ID, name)

    def open(self, address: str) -> None:
        self.browser.get(address)
        self.wait(lambda: "Loading" not in self["card"].get_attribute("textContent"))

    def wait(self, until: Callable[[], object]) -> None:
        WebDriverWait(self.browser, 30).until(lambda _: until())

    def choose(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.write_bytes(content)
        self["file"].send_keys(str(path))
        self.wait(lambda: not self["busy"].is_displayed())
        self.wait(lambda: name in self["shown-name"].text or name in self["error"].text)

    def slide(self, name: str, value: int) -> None:
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
        self.browser.execute_script(script, self[name], value)

    def canvas(self) -> str:
        return self.browser.execute_script("return document.getElementById('canvas').toDataURL()")

    def events(self, method: str) -> list[dict]:
        logged = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        return [message["params"] for message in logged if message["method"] == method]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = shutil.which("chromedriver")
    if driver is None or shutil.which("chromium") is None:
        pytest.skip("chromium or chromedriver is not installed: `apt-get install chromium chromium-driver`")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    downloads = tmp_path_factory.mktemp("downloads")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)}
    )
    browser.downloads = downloads
    try:
        yield browser
    finally:
        browser.quit()


@pytest.fixture(scope="module")
def address(run: Path, predictor: Predictor) -> Iterator[str]:
    with services.client_of(create_app(predictor, about(run, predictor), Settings())) as client:
        yield f"http://127.0.0.1:{client.base_url.port}"


@pytest.fixture
def page(browser: webdriver.Chrome, address: str, tmp_path: Path) -> Page:
    page = Page(browser, tmp_path)
    browser.get_log("browser"), browser.get_log("performance")
    page.open(address)
    return page


def test_an_xray_is_answered_and_nothing_else_is_asked(page: Page, address: str):
    assert page["empty"].is_displayed()
    assert not page["downloads"].is_displayed()
    page.choose("chest.png", services.encoded("PNG", services.pixels(200, 160)))
    result = page["result"].text
    assert "NORMAL" in result
    assert "PNEUMONIA" in result
    assert "range" in result
    assert "Area, lungs" in result
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

    def changed() -> bool:
        now = page.canvas()
        fresh = now not in seen
        seen.append(now)
        return fresh

    page.slide("mask-opacity", 10)
    assert page["mask-value"].text == "10 %"
    assert changed()
    page.slide("saliency-opacity", 95)
    assert changed()
    keys = page["viewer"]
    for key in ("h", "+", Keys.ARROW_LEFT, "-", "1"):
        keys.send_keys(key)
        assert changed(), key
    assert page["mask-value"].text == page["saliency-value"].text == "0 %"
    keys.send_keys("0")
    keys.send_keys("h")
    assert page["saliency-value"].text == "95 %"
    page.slide("mask-opacity", 80)
    page.slide("saliency-opacity", 50)
    assert page.canvas() == seen[0]
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
    assert "cm²" in page["result"].text
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
    assert page.browser.execute_script(CONTRAST) == []


# WCAG 2.1, 1.4.3: at least 4.5 between a text and the nearest opaque ground behind it.
CONTRAST = """
const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (node) => {
  for (; node; node = node.parentElement) {
    const c = parse(getComputedStyle(node).backgroundColor);
    if (c.length === 3 || c[3] > 0.5) return c;
  }
  return [255, 255, 255];
};
const bad = [];
for (const node of document.querySelectorAll("body *")) {
  const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || !node.checkVisibility() || node.closest(".skip")) continue;
  const [a, b] = [parse(getComputedStyle(node).color), ground(node)].map(light).sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(node.outerHTML.slice(0, 80));
}
return bad;
"""


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
