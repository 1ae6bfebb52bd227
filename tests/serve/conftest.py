"""Tiny models in folders, `dermis serve` running on them as people run it (another process, a port, HTTP), and Chromium
to look at its page."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from PIL import Image

import dermis
from dermis.cases.manifest import Manifest
from dermis.cases.seven_point import CLASSES as CRITERIA
from dermis.cli import main
from dermis.methods.m2cg import M2CG, M2CGConfig
from dermis.model import save
from dermis.towers.build import (
    BranchesConfig,
    ImageTowerConfig,
    TextTowerConfig,
    TwoTowerConfig,
    build_branches,
    build_two_tower,
)
from dermis.towers.trained_tokenizer import train_tokenizer

COLOURS = {"melanoma": (70, 50, 40), "psoriasis": (190, 60, 60), "nevus": (220, 190, 170)}
TOWER = ImageTowerConfig(name="test_vit", size=32)
TOKEN = "a-token-for-the-tests-only"
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
)


FAULTS = """
const all = (selector) => [...document.querySelectorAll(selector)], name = (one) => one.outerHTML.slice(0, 90);
const seen = all("h1, h2, h3, h4, h5, h6").filter((one) => one.checkVisibility());
const levels = seen.map((one) => Number(one.tagName[1]));
const pointers = ["aria-labelledby", "aria-describedby", "for"].flatMap((key) =>
  all(`[${key}]`).map((one) => one.getAttribute(key)));
const ids = all("[id]").map((one) => one.id);
return [
  ...all("input, textarea, select").filter((one) => !one.labels.length).map((one) => "no label: " + name(one)),
  ...all("img:not([alt])").map((one) => "no alt: " + name(one)),
  ...all("button, a, summary, legend").filter((one) => !one.textContent.trim()).map((one) => "no text: " + name(one)),
  ...levels.filter((level, at) => level > (levels[at - 1] ?? 0) + 1).map((level) => "heading out of order: h" + level),
  ...ids.filter((id, at) => ids.indexOf(id) !== at).map((id) => "twice: #" + id),
  ...["h1", "main", "header", "footer", "nav"].filter((one) => all(one).length !== 1).map((one) => "not one " + one),
  ...pointers.filter((id) => !document.getElementById(id)).map((id) => "nowhere: #" + id),
  ...all("[tabindex]").filter((one) => one.tabIndex > 0).map((one) => "own order: " + name(one)),
  ...all("main [role=alert], main [role=log]").length ? [] : ["nothing is announced"],
];
"""
CONTRASTS = """
const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
const linear = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const light = (colour) => {
  const [r, g, b] = channels(colour).map((c) => linear(c / 255));
  return .2126 * r + .7152 * g + .0722 * b;
};
const behind = (one) => {
  for (; one; one = one.parentElement) {
    const found = channels(getComputedStyle(one).backgroundColor);
    if (found.length < 4 || found[3] === 1) return getComputedStyle(one).backgroundColor;
  }
};
const ratio = (a, b) => {
  const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
  return (high + .05) / (low + .05);
};
const texts = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const one = walk.currentNode.parentElement;
  if (walk.currentNode.data.trim() && one.checkVisibility() && !one.closest(".unseen, noscript, datalist"))
    texts.push([ratio(getComputedStyle(one).color, behind(one)), walk.currentNode.data.trim().slice(0, 40)]);
}
const edges = [...document.querySelectorAll("input:not(.unseen):not([type=range]), textarea, button:not(.plain)")]
  .filter((one) => one.checkVisibility())
  .map((one) => [ratio(getComputedStyle(one).borderTopColor, behind(one.parentElement)), one.outerHTML.slice(0, 40)]);
return [texts, edges];
"""
SENT = """
window.sent = {};
const send = window.fetch;
window.fetch = (path, given) => {
  const form = given.body ?? new FormData(), told = sent[path] = {};
  for (const name of form.keys()) told[name] = form.getAll(name).map((one) => one instanceof File ? one.name : one);
  return send(path, given);
};
"""


@dataclass(frozen=True)
class Served:
    """A running service, and what it was started with."""

    url: str
    model: Path
    cases: Manifest = field(repr=False)


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    """A service takes all processors, and the tests after it would: two of them at a time, ten times slower."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_cases(tmp_path_factory):
    """120 synthetic cases with both pictures; what they are called is visible as a colour cast."""
    folder = tmp_path_factory.mktemp("served")
    made = dermis.make_cases(folder / "cases", cases=120, size=96, seed=0, split=(0.4, 0.35, 0.25))
    rng, table = np.random.default_rng(0), made.table.copy()
    table["diagnosis"] = rng.choice(list(COLOURS), size=len(table))
    for path, diagnosis in zip(table["image"], table["diagnosis"], strict=True):
        picture = np.asarray(Image.open(made.root / path), float)
        mixed = 0.6 * picture + 0.4 * np.array(COLOURS[diagnosis]) + rng.normal(size=3) * 12
        Image.fromarray(mixed.clip(0, 255).astype(np.uint8)).save(made.root / path)
    cases = Manifest.build(table, made.root)
    cases.write(folder / "cases.parquet")
    return folder, cases


@pytest.fixture(scope="session")
def two_tower(tiny_cases):
    """Folders of a calibrated model of pictures and texts, and of embeddings that it made of all cases."""
    folder, _ = tiny_cases
    model, cases = folder / "two-tower", folder / "cases.parquet"
    text = TextTowerConfig(width=32, layers=1, heads=2, context_length=16)
    save(model, build_two_tower(TwoTowerConfig(image=TOWER, text=text, embed_dim=24), seed=1))
    rules = ("--alpha", "0.2", "--ood-level", "0.1")
    for arguments in (
        ("calibrate", model, cases, "--cache", folder / "cache", *rules),
        ("embed", model, cases, "--out", folder / "embeddings"),
    ):
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments])
        assert end.value.code == 0
    return model, folder / "embeddings"


@pytest.fixture(scope="session")
def pair(tiny_cases):
    """Folder of a model of two pictures that was taught the criteria of the seven-point checklist, and no more."""
    model = build_branches(BranchesConfig(image=TOWER, paired=True), seed=3)
    classes = {f"finding.{name}": tuple(found) for name, found in CRITERIA.items()}
    model.add("labels", classes=classes | {"diagnosis": tuple(COLOURS)}, relation="no_proj")
    return save(tiny_cases[0] / "pair", model)


@pytest.fixture(scope="session")
def speaking(tiny_cases):
    """Folder of a model of pictures and texts that says a text and reads a dialogue, and has no decision."""
    folder = tiny_cases[0]
    said = ["Doctor: What is it?\nPatient: A mole on my back.", "Patient: It itches and has grown for three months."]
    (folder / "tokenizer.json").write_text(train_tokenizer(said, vocabulary=90))
    text = TextTowerConfig(name="trained", width=32, layers=1, heads=2, tokenizer=str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    model = build_two_tower(TwoTowerConfig(image=TOWER, text=text, embed_dim=16, head="convirt"), seed=2)
    return save(folder / "speaking", M2CG(model, M2CGConfig(fusion_layers=1, decoder_layers=1, heads=2)).model)


@pytest.fixture(scope="session")
def serving(tiny_cases):
    """(model folder, options of the command) -> Served; all are stopped at the end."""
    folder, cases = tiny_cases
    running = []

    def start(model, *options):
        process, url = begun(model, folder / f"serve-{len(running)}.log", *options)
        running.append(process)
        return Served(url, Path(model), cases)

    yield start
    for process in running:
        process.terminate()
    for process in running:
        process.wait(30)


def begun(model, log, *options):
    """`dermis serve` as a process of its own that writes to ``log``, and its address, once it answers."""
    command = [sys.executable, "-m", "dermis", "serve", str(model), "--port", "0", *map(str, options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
    return process, _address(process, log)


def _address(process: subprocess.Popen, log: Path, seconds: float = 120) -> str:
    """Where the service listens, as soon as it answers /health; fails with its log if it ends or never does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if found := re.search(r" at (http://\S+)", log.read_text()):
            try:
                with urlopen(found[1] + "/health", timeout=5) as answer:
                    assert answer.status == 200
                return found[1]
            except URLError:
                pass
        time.sleep(0.1)
    process.kill()
    pytest.fail(f"dermis serve did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def served(serving, two_tower):
    """A calibrated model of pictures and texts, with cases to search in and their thumbnails."""
    model, embeddings = two_tower
    return serving(model, "--embeddings", embeddings, "--thumbnails")


@pytest.fixture(scope="session")
def served_pair(serving, pair):
    """A model of two pictures with the seven-point checklist."""
    return serving(pair)


@pytest.fixture(scope="session")
def served_speaking(serving, speaking):
    """A model without a decision that says a text; it asks for TOKEN, and does one thing at a time."""
    (speaking.parent / "token").write_text(TOKEN)
    return serving(speaking, "--token-file", speaking.parent / "token", "--waiting", "1")


class Tab:
    """A tab of Chromium with the page in it; what it asks for is said in CSS selectors."""

    def __init__(self, driver):
        self.driver, self.run = driver, driver.execute_script

    def sent(self):
        """Path -> name -> values of all forms that were sent since the page was opened; of a file its name."""
        return self.run("return window.sent")

    def open(self, served, width=1280, height=900, **media):
        """Load the page anew, with these media features (colour_scheme="dark" is prefers-color-scheme: dark)."""
        features = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in media.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.size(width, height)
        self.driver.get(served.url)
        self.run(SENT)
        self.wait("return !document.querySelector('#desk').hidden || !document.querySelector('#door').hidden")
        return self

    def size(self, width, height):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def wait(self, script, seconds=60):
        end = time.monotonic() + seconds
        while not (found := self.run(script)):
            assert time.monotonic() < end, f"never: {script}\n{self.text('body')}"
            time.sleep(0.05)
        return found

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def texts(self, selector):
        return [found.text for found in self.all(selector)]

    def text(self, selector="#results"):
        return self.one(selector).text

    def spoken(self):
        """What a screen reader has been told of the results."""
        return self.run("return document.querySelector('#spoken').textContent").replace("\u00a0", " ")

    def press(self, *keys):
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def give(self, *pictures):
        for chooser, picture in zip(self.all(".slot input:not([capture])"), pictures, strict=True):
            chooser.send_keys(str(picture))

    def look(self):
        self.one("#case button.main").click()
        return self.parts()

    def parts(self):
        """Title -> text of each part, when all are there."""
        self.wait("return document.querySelector('.part') && !document.querySelector('[aria-busy]')")
        return {part.text.split("\n")[0]: part.text for part in self.all(".part")}

    def shot(self, name):
        """A picture of the whole page, if somebody wants to see it."""
        if folder := os.environ.get("DERMIS_SCREENSHOTS"):
            width, height = self.run("return [innerWidth, document.documentElement.scrollHeight]")
            self.wait("return [...document.images].every((one) => one.complete)")
            self.size(width, height)
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))

    def faults(self):
        """What scripts and the content security policy complained of, and what is hard to use without eyes."""
        return [said for said in self.log("browser") if said["source"] != "network"] + self.run(FAULTS)

    def contrasts(self):
        """(contrast, beginning) of every text, and of the edge of every field, in sight."""
        return self.run(CONTRASTS)

    def log(self, kind):
        return [json.loads(e["message"])["message"] if kind == "performance" else e for e in self.driver.get_log(kind)]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A driver of Debian's Chromium with a fresh profile."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("needs Chromium and its driver: make browser")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chromium = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chromium
    chromium.quit()


@pytest.fixture
def tab(chromium):
    """A tab; at the end no script may have failed, nothing offended the content security policy, and whatever is shown
    by then must be usable without eyes."""
    tab = Tab(chromium)
    tab.log("browser")
    yield tab
    assert tab.faults() == []
