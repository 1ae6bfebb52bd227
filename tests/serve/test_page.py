"""The page in Chromium, against the real server: what people do, with and without a mouse, in light, dark and narrow.

With DERMIS_SCREENSHOTS=FOLDER the pictures that the tests look at are written there.
"""

import json
import time

import numpy as np
import pytest
from PIL import Image

import dermis
from dermis.decision.decider import Decider

Keys = pytest.importorskip("selenium.webdriver", reason="needs selenium").Keys
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def pictures(served, tmp_path_factory):
    """What the calibrated model is sure of, what it is not, and a text that is named like a picture."""
    folder, decider = tmp_path_factory.mktemp("given"), Decider.load(served.model)
    test = served.cases.split("test")
    paths = [test.root / path for path in test.table["image"]]
    Image.fromarray(np.full((64, 64, 3), (0, 0, 255), np.uint8)).save(folder / "blue.png")
    (folder / "text.jpg").write_text("no picture at all")
    sure = next(path for path in paths if dermis.decide(decider, path).sure)
    return {"sure": sure, "unsure": folder / "blue.png", "text": folder / "text.jpg"}


def test_a_case_from_its_picture_to_similar_cases(tab, served, pictures):
    tab.open(served)
    assert "a set that holds the truth in 80 % of new patients" in tab.text()
    tab.give(pictures["sure"])
    tab.one("#age").send_keys("62")
    tab.one("#site").send_keys("back")
    parts = tab.look()
    assert list(parts) == ["Diagnoses", "Where in the picture", "Visual concepts", "Similar cases"]
    verdict = dermis.decide(served.model, pictures["sure"])
    likeliest = next(iter(verdict.probabilities))
    assert [said.removesuffix("possible") for said in tab.texts("#part-0 + .body .name")] == list(verdict.probabilities)
    shares = [f"{100 * share:.0f} %" for share in verdict.probabilities.values()]
    assert tab.texts("#part-0 + .body .value") == shares
    assert f"Possible: {', '.join(verdict.possible)}." in parts["Diagnoses"]
    assert "Fairly sure." in parts["Diagnoses"]
    assert "In 80 % of new patients such a set holds the truth" in parts["Diagnoses"]
    assert (
        f"Where it resembles “{likeliest}”: from violet, least, to yellow, most (cosines"
        in parts["Where in the picture"]
    )
    assert len([said for said in tab.texts(".two li") if said]) == 10
    tab.one("details summary").click()
    assert len([said for said in tab.texts(".two li") if said]) > 10
    assert len(tab.all(".hits li img")) == 10
    sentence = "A skin lesion on the back of a person 62 years old"
    assert f"120 cases were searched by the picture and by “{sentence}”" in parts["Similar cases"]
    assert tab.sent()["/v1/search"] == {"image": ["image"], "k": ["10"], "text": [f"{sentence}."]}
    tab.wait("return [...document.querySelectorAll('.hits img, .stack img')].every((one) => one.naturalWidth > 0)")
    assert f"Most likely {likeliest}, {shares[0]}." in tab.spoken()


def test_what_the_model_is_not_sure_of_is_said_first_and_with_the_reason(tab, served, pictures):
    tab.open(served).give(pictures["unsure"])
    said = tab.look()["Diagnoses"]
    assert said.split("\n")[1].startswith("Not sure. ")
    assert "he picture is unlike those that it learnt from." in said
    assert f"Not sure: {dermis.decide(served.model, pictures['unsure']).why}." in tab.spoken()
    tab.shot("not-sure")


def test_a_file_that_is_no_picture_gets_the_servers_sentence_and_the_page_goes_on(tab, served, pictures):
    what = "it is text (begins with b'no picture at all'); send JPEG, PNG, TIFF, WebP, BMP, GIF, HEIC."
    said = f"The picture 'image' cannot be used: {what}"
    tab.open(served).give(pictures["text"])
    tab.wait("return document.querySelector('.slot [role=alert]').textContent.includes('cannot show the file')")
    parts = tab.look()
    assert list(parts.values()) == [f"{title}\n{said}" for title in parts]
    tab.shot("no-picture")
    tab.give(pictures["sure"])
    assert not tab.all(".part")
    assert "Fairly sure." in tab.look()["Diagnoses"]


def test_maps_of_a_phrase_and_of_where_the_model_looked(tab, served, pictures):
    tab.open(served).give(pictures["sure"])
    tab.look()
    for phrase, said in (("scaly plaque", "Where it resembles “scaly plaque”"), ("", "Where the model looked")):
        tab.one("#phrase").clear()
        tab.one("#phrase").send_keys(phrase, Keys.ENTER)
        tab.wait(f"return document.querySelector('.maps').innerText.includes({json.dumps(said)})")
    opacity = "return getComputedStyle(document.querySelector('.overlay')).opacity"
    assert tab.run(opacity) == "1"
    tab.one("#strength").send_keys(Keys.HOME)
    assert tab.run(opacity) == "0"


def test_two_pictures_a_checklist_and_labels(tab, served_pair):
    tab.open(served_pair)
    assert not tab.one("#words").is_displayed()
    assert not tab.one("#names").is_displayed()
    tab.one("#case button.main").click()
    assert tab.text("#case-said") == "A picture is missing: dermoscopic picture."
    case = served_pair.cases.split("test")
    tab.give(*(case.root / case.table[column][0] for column in ("dermoscopy", "image")))
    assert tab.text("#case-said") == ""
    parts = tab.look()
    assert list(parts) == ["Seven-point checklist", "Labels", "Where in the picture"]
    rows = [row.split(" ") for row in tab.texts("#part-1 + .body tbody tr")]
    assert [int(row[-1]) for row in rows[:-1]] == [2, 2, 2, 1, 1, 1, 1]
    assert tab.one("tr.sum").text.startswith("Score from 3: suspicious ")
    assert "of 10" in tab.one("tr.sum").text
    assert "not the probability of a melanoma" in parts["Seven-point checklist"]
    assert len(tab.all("#part-2 + .body tbody tr")) == 8
    shown = [said.split(";")[0] for said in tab.texts(".beside figure:first-child")]
    assert shown == ["Dermoscopic picture", "Photograph"]
    tab.shot("pair")


def test_a_token_names_a_text_and_a_busy_server(tab, served_speaking, pictures):
    tab.open(served_speaking)
    assert not tab.one("#desk").is_displayed()
    tab.shot("token")
    tab.one("#token").send_keys("a-wrong-token-for-the-tests", Keys.ENTER)
    tab.wait("return document.querySelector('#door-said').textContent.includes('does not know this token')")
    tab.one("#token").send_keys((served_speaking.model.parent / "token").read_text(), Keys.ENTER)
    tab.wait("return !document.querySelector('#desk').hidden")
    assert "Read by the generated text." in tab.text("#words-use")
    names = tab.one("#names-list")
    names.clear()
    tab.give(pictures["sure"])
    tab.one("#case button.main").click()
    assert tab.text("#case-said") == "Give at least one name to compare."
    names.send_keys("nevus\n\nulcer\nnevus")
    tab.run("""window.shown = ""; new MutationObserver(() => shown += document.querySelector("#results").textContent)
      .observe(document.querySelector("#results"), { subtree: true, childList: true });""")
    tab.one("#symptoms").send_keys("it itches")
    parts = tab.look()
    assert list(parts) == ["Diagnoses", "Where in the picture", "Visual concepts", "Generated text"]
    assert "The server is busy. Asking again in 1 s (1 of 4)." in tab.run("return shown")
    assert sorted(tab.texts("#part-0 + .body .name")) == ["nevus", "ulcer"]
    assert "They are not calibrated" in parts["Diagnoses"]
    assert tab.one("blockquote").text
    assert tab.sent()["/v1/generate"]["dialogue"][0].endswith("Patient: it itches")
    assert tab.sent()["/v1/classify"]["names"] == ["nevus", "ulcer"]
    assert "from the picture and what you typed" in parts["Generated text"]
    tab.shot("names")
    tab.driver.refresh()
    tab.wait("return !document.querySelector('#door').hidden")


def test_a_changed_picture_stops_what_runs(tab, served, pictures):
    tab.open(served, reduced_motion="reduce").give(pictures["sure"])
    slow = {"offline": False, "latency": 3000, "downloadThroughput": -1, "uploadThroughput": -1}
    tab.driver.execute_cdp_cmd("Network.enable", {})
    tab.driver.execute_cdp_cmd("Network.emulateNetworkConditions", slow)
    try:
        tab.log("performance")
        tab.one("#case button.main").click()
        assert tab.texts(".waiting") == ["Looking…"] * 4
        assert tab.run("return getComputedStyle(document.querySelector('.waiting'), '::after').animationName") == "none"
        tab.wait("return document.activeElement.id === 'results-title'")
        next(button for button in tab.all(".slot button") if button.text == "Remove").click()
        assert not tab.all(".part")
        time.sleep(0.5)
        ended = [said["params"] for said in tab.log("performance") if said["method"] == "Network.loadingFailed"]
        assert sum(one["canceled"] for one in ended) >= 3
    finally:
        tab.driver.execute_cdp_cmd("Network.emulateNetworkConditions", slow | {"latency": 0})
    assert "This model can show:" in tab.text()


def test_pictures_are_pasted_and_dropped(tab, served_pair):
    give = """const [kind, selector, more, done] = arguments, data = new DataTransfer();
      const canvas = document.createElement("canvas");
      canvas.toBlob((blob) => {
        data.items.add(new File([blob, new Uint8Array(more)], "a.png", { type: "image/png" }));
        const event = kind === "drop" ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
          : new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
        done(document.querySelector(selector).dispatchEvent(event));
      });"""
    tab.open(served_pair)
    shown = "return [...document.querySelectorAll('.slot > img')].map((one) => !one.hidden)"
    opened = tab.driver.execute_async_script(give, "drop", ".slot:last-child .zone", 0)
    assert not opened  # by the browser, in the page's place
    assert tab.run(shown) == [False, True]
    tab.driver.execute_async_script(give, "paste", "body", 0)
    assert tab.run(shown) == [True, True]
    tab.driver.execute_async_script(give, "drop", ".slot .zone", 20_000_001)
    assert tab.run(shown) == [False, True]
    assert tab.text(".slot [role=alert]") == "This file is too large: the server takes at most 20 MB."


def test_nothing_leaves_for_elsewhere_and_nothing_stays(tab, served, pictures):
    counting = """window.urls = new Set(); const { createObjectURL: make, revokeObjectURL: end } = URL;
      URL.createObjectURL = (one) => { const url = make.call(URL, one); urls.add(url); return url; };
      URL.revokeObjectURL = (url) => { urls.delete(url); end.call(URL, url); };"""
    added = tab.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": counting})
    tab.log("performance")
    tab.open(served).give(pictures["sure"])
    tab.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    tab.look()
    tab.wait("return [...document.querySelectorAll('.hits img')].every((one) => one.complete)")
    tab.wait("return urls.size === 1")
    next(button for button in tab.all(".slot button") if button.text == "Remove").click()
    assert tab.run("return urls.size") == 0
    log = tab.log("performance")
    asked = [said["params"]["request"] for said in log if said["method"] == "Network.requestWillBeSent"]
    assert len(asked) > 20
    assert {one["url"].split(":")[0] for one in asked} <= {"http", "data", "blob"}
    assert all(one["url"].startswith(served.url + "/") for one in asked if one["url"].startswith("http"))
    assert tab.sent()["/v1/classify"] == {"image": ["image"]}  # not the file's name, which may be the patient's
    assert tab.run("return [localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


def test_the_keyboard_is_enough(tab, served, pictures):
    tab.open(served)
    visited = []
    for _ in range(9):
        tab.press(Keys.TAB)
        facts = """const one = document.activeElement, ring = getComputedStyle(one.closest(".button") ?? one);
          return [one.id || one.type || one.textContent, ring.outlineStyle];"""
        name, ring = tab.run(facts)
        assert ring == "solid", name
        visited.append(name)
        if name == "file":
            tab.driver.switch_to.active_element.send_keys(str(pictures["sure"]))
    assert visited == ["Skip to the case", "open-card", "API", "file", "button", "age", "site", "symptoms", "submit"]
    tab.press(Keys.ENTER)
    tab.parts()
    assert tab.run("return document.activeElement.id") == "results-title"
    tab.press(Keys.TAB, Keys.TAB, Keys.TAB, Keys.ARROW_LEFT)
    assert tab.run("return document.querySelector('#strength').value") == "99"
    tab.press(Keys.TAB, Keys.ENTER)
    assert tab.run("return document.querySelector('details').open")
    tab.run("document.querySelector('#open-card').focus()")
    tab.press(Keys.ENTER)
    assert tab.one("#card-text").text.startswith("---") or tab.one("#card-text").text.startswith("#")
    tab.press(Keys.ESCAPE)
    assert not tab.one("#card").is_displayed()
    assert tab.run("return document.activeElement.id") == "open-card"


def test_a_phone_needs_no_sideways_scroll(tab, served, pictures):
    tab.open(served, width=360, height=740).give(pictures["unsure"])
    tab.look()
    top = tab.run("return document.querySelector('#results-title').getBoundingClientRect().top")
    assert tab.run("return document.querySelector('.notice').offsetHeight") <= top < 200
    assert tab.run("return [innerWidth, document.documentElement.scrollWidth]") == [360, 360]
    wide = "return [...document.body.querySelectorAll('*')].filter((one) => one.getBoundingClientRect().right > 360.5"
    assert tab.run(wide + " && !one.closest('.unseen, .frame')).map((one) => one.outerHTML.slice(0, 80))") == []
    tab.shot("phone")
    tab.size(360, 740)
    tab.run("scrollTo(0, 0)")
    tab.one("#open-card").click()
    assert tab.run("const card = document.querySelector('#card'); return card.scrollWidth <= card.clientWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("picture", ["sure", "unsure", "text"])
def test_all_text_and_every_field_stand_out(tab, served, pictures, scheme, picture):
    tab.open(served, color_scheme=scheme).give(pictures[picture])
    tab.look()
    bright = tab.run("return getComputedStyle(document.body).backgroundColor") == "rgb(246, 247, 249)"
    assert bright == (scheme == "light")
    texts, edges = tab.contrasts()
    assert len(texts) > 20
    assert [said for ratio, said in texts if ratio < 4.5] == []
    assert [field for ratio, field in edges if ratio < 3] == []
    if picture == "sure":
        tab.shot(scheme)


def test_the_statement_stays_in_sight(tab, served, pictures):
    tab.open(served).give(pictures["sure"])
    tab.look()
    tab.run("scrollTo(0, 1000)")
    top = tab.run("return document.querySelector('.notice').getBoundingClientRect().top")
    assert top == 0
    assert "not a medical device. It does not replace a physician. Pictures are not kept." in tab.text(".notice")
