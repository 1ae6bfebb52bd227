"""Extraction by a language model against a real HTTP server on this machine that misbehaves as told."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from dermis.language.knowledge import Knowledge
from dermis.language.language_model import Server, estimate, extract, read_failures
from dermis.language.lexicon import Lexicon
from tests.language.conftest import LEXICON, ONTOLOGY, SILENT, completion, error

pytest.importorskip("openai")


def script(*replies):
    """The n-th request gets the n-th reply, later ones the last."""
    return lambda request, n: replies[min(n, len(replies) - 1)]


def test_an_answer_becomes_knowledge_in_the_words_of_the_vocabulary(server, ask):
    server.script = script(
        {
            "disease": "Malignant Melanoma",
            "concepts": ["lump", "Scaly", "nodule"],
            "body_site": "left upper back",
            "symptoms": ["itchy", "hums at dusk"],
            "age": 54,
            "sex": "Female",
        }
    )
    (known,) = ask(["A woman of 54 with melanoma: a scaly lump of the left upper back, itchy, hums at dusk."])
    assert (known.disease, known.concepts, known.age, known.sex) == ("melanoma", ("nodule", "scale"), 54.0, "female")
    assert known.body_site == "back"
    assert known.symptoms == ("itching", "hums at dusk")


def test_the_request_holds_rules_vocabulary_text_and_settings(server, ask):
    ask(["some text", "another"], temperature=0.0, seed=7, answer_tokens=99)
    first, second = server.requests
    assert [m["role"] for m in first["messages"]] == ["system", "user"]
    assert first["messages"][0] == second["messages"][0]
    assert all(word in first["messages"][0]["content"] for word in (*ONTOLOGY.nodes, *LEXICON.concepts))
    assert first["messages"][1]["content"] == "some text"
    assert (first["model"], first["temperature"], first["seed"], first["max_tokens"]) == ("m", 0.0, 7, 99)
    schema = first["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert schema["schema"]["properties"]["concepts"]["items"]["enum"] == list(LEXICON.concepts)
    assert schema["schema"]["required"] == list(SILENT)


def test_silence_and_abstention_are_empty_knowledge_and_blank_texts_are_not_sent(server, ask):
    assert ask(["nothing much", "", "  \n"]) == [Knowledge()] * 3
    assert server.texts == ["nothing much"]


def test_results_keep_the_order_of_the_texts_and_each_distinct_text_is_asked_once(server, ask):
    def by_text(request, n):
        time.sleep(0.001 * (7 * n % 5))
        return SILENT | {"age": int(request["messages"][1]["content"])}

    server.script = by_text
    texts = [str(n % 20) for n in range(60)]
    assert [known.age for known in ask(texts, concurrency=8)] == [float(text) for text in texts]
    assert sorted(server.texts) == sorted(set(texts))


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_requests_at_once_than_asked_for(server, ask, concurrency):
    def slow(request, n):
        time.sleep(0.03)
        return SILENT

    server.script = slow
    ask([str(n) for n in range(9)], concurrency=concurrency)
    assert server.most_at_once == concurrency


FAULTS = {
    "429": error(429, "slow down", **{"retry-after-ms": "5"}),
    "500": error(500, "oops", **{"retry-after-ms": "5"}),
    "503": error(503, "loading", **{"retry-after-ms": "5"}),
    "hangs up": None,
    "truncated body": (200, {"content-length": "4000"}, completion(SILENT)),
    "truncated JSON": (200, {}, completion(SILENT)[:60]),
    "no completion": (200, {}, b'{"object": "list", "data": []}'),
    "no choices": (200, {}, b'{"choices": []}'),
    "a web page": (200, {"content-type": "text/html"}, b"<html>maintenance</html>"),
    "malformed JSON": '{"disease": "psoriasis", "concepts": [',
    "prose": "This looks like psoriasis to me.",
    "a key missing": {"disease": "psoriasis"},
    "a wrong type": SILENT | {"concepts": "plaque"},
    "a wrong number": SILENT | {"age": "54"},
    "empty": "",
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_that_passes_is_survived(server, ask, fault):
    server.script = script(fault, SILENT | {"disease": "psoriasis"})
    assert ask(["text"]) == [Knowledge(disease="psoriasis")]
    assert len(server.requests) == 2
    assert read_failures(ask.cache) == []


LASTING = {
    "429": (FAULTS["429"], "slow down", 3),
    "500": (FAULTS["500"], "oops", 3),
    "truncated body": (FAULTS["truncated body"], "Connection error", 3),
    "a web page": (FAULTS["a web page"], "no chat completion", 3),
    "malformed JSON": (FAULTS["malformed JSON"], "not valid JSON", 3),
    "a key missing": (FAULTS["a key missing"], "no key 'concepts'", 3),
    "refusal": ((200, {}, completion(None, refusal="I cannot read this.")), "I cannot read this", 1),
    "content filter": ((200, {}, completion("", finish_reason="content_filter")), "content filter", 1),
    "too long": ((200, {}, completion('{"disease": nu', finish_reason="length")), "answer_tokens=512", 1),
}


@pytest.mark.parametrize(("fault", "reason", "requests"), LASTING.values(), ids=LASTING)
def test_a_fault_that_stays_is_a_failure_of_that_text_with_its_reason(server, ask, fault, reason, requests):
    server.script = lambda request, n: fault if request["messages"][1]["content"] == "bad" else SILENT
    assert ask(["good", "bad", "fine", "bad"]) == [Knowledge(), None, Knowledge(), None]
    assert [index for index, _ in read_failures(ask.cache)] == [1, 3]
    assert reason in read_failures(ask.cache)[0][1]
    assert server.texts.count("bad") == requests
    server.script = script(SILENT)
    assert ask(["good", "bad"]) == [Knowledge()] * 2  # a failure is tried again, an answer is not
    assert server.texts[-1] == "bad"
    assert server.texts.count("good") == 1
    assert read_failures(ask.cache) == []


def test_retry_after_is_waited_for(server, ask):
    server.script = script(error(429, "slow down", **{"retry-after": "1"}), SILENT)
    start = time.monotonic()
    ask(["text"])
    assert 1 <= time.monotonic() - start < 3


def test_a_server_that_does_not_answer_in_time(server, ask):
    release = threading.Event()
    server.script = lambda request, n: release.wait(10) and None if n == 0 else SILENT
    assert ask(["text"], timeout=0.2) == [Knowledge()]
    assert len(server.requests) == 2
    release.set()


def test_wrong_words_are_named_once_and_repaired(server, ask):
    wrong = SILENT | {"disease": "melanomatosis", "concepts": ["plaque", "purple spot"]}
    server.script = script(wrong, SILENT | {"disease": "BCC", "concepts": ["plaque"]})
    assert ask(["text"]) == [Knowledge(disease="basal cell carcinoma", concepts=("plaque",))]
    repair = server.requests[1]["messages"]
    assert [m["role"] for m in repair] == ["system", "user", "assistant", "user"]
    assert json.loads(repair[2]["content"]) == wrong
    assert "'melanomatosis', 'purple spot'" in repair[3]["content"]
    assert ask.lines()[0]["tokens"] == [200, 40]


def test_wrong_words_that_stay_are_dropped_and_recorded(server, ask):
    server.script = script(
        SILENT | {"disease": "melanomatosis", "concepts": ["purple spot", "scaly"], "age": 400, "sex": "both"}
    )
    assert ask(["text"]) == [Knowledge(concepts=("scale",))]
    assert len(server.requests) == 2
    assert ask.lines()[0]["dropped"] == ["melanomatosis", "purple spot", "both", "age 400"]


@pytest.mark.parametrize("faults", [(0, 1), (1, 2)], ids=["before", "after"])
def test_an_answer_with_wrong_words_is_kept_where_the_other_attempts_cannot_be_read(server, ask, faults):
    wrong = SILENT | {"concepts": ["plaque", "purple spot"]}
    server.script = script(*(FAULTS["prose"] if n in faults else wrong for n in range(3)))
    assert ask(["text"]) == [Knowledge(concepts=("plaque",))]
    assert len(server.requests) == 3
    assert ask.lines()[0]["dropped"] == ["purple spot"]


@pytest.mark.parametrize(
    "content",
    [
        "```json\n" + json.dumps(SILENT | {"disease": "psoriasis"}) + "\n```",
        "Here you are: " + json.dumps(SILENT | {"disease": "psoriasis"}) + " Anything else?",
        "<think>{maybe} psoriasis?</think>" + json.dumps(SILENT | {"disease": "psoriasis", "note": 1}),
    ],
)
def test_a_server_that_ignores_the_response_format(server, ask, content):
    server.script = script(content)
    assert ask(["text"]) == [Knowledge(disease="psoriasis")]
    assert len(server.requests) == 1


@pytest.mark.parametrize(("taken", "status"), [("json_object", 400), ("json_object", 422), (None, 400)])
def test_a_server_without_json_schema_is_asked_more_simply_and_only_once(server, ask, taken, status):
    def picky(request, n):
        kind = request.get("response_format", {}).get("type")
        return SILENT if kind == taken else error(status, f"response_format {kind} is not supported")

    server.script = picky
    assert ask(["a", "b", "c"]) == [Knowledge()] * 3
    kinds = [request.get("response_format", {}).get("type") for request in server.requests]
    assert kinds == [*["json_schema", "json_object", None][: 2 if taken else 3], taken, taken]


def test_a_text_that_the_server_rejects_costs_one_request_once_the_form_is_known(server, ask):
    server.script = lambda request, n: error(400, "too long") if "long" in server.texts[n] else SILENT
    assert ask(["a", "long", "b"]) == [Knowledge(), None, Knowledge()]
    assert read_failures(ask.cache) == [(1, "the server rejects the request: Error code: 400 - too long")]
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(401, "does not accept a request without a key"), (403, "api_key_env"), (404, "has no model 'm'")],
)
def test_what_cannot_work_stops_at_once(server, ask, status, sentence):
    server.script = lambda request, n: error(status, "no such thing") if n >= 2 else SILENT
    with pytest.raises(ValueError, match=sentence) as stopped:
        ask([str(n) for n in range(50)], concurrency=1)
    assert "no such thing" in str(stopped.value)
    assert len(server.requests) == 3
    assert len(ask.lines()) == 2  # what was answered is kept


def test_a_dead_server_stops_the_run_after_ten_texts(server, ask):
    server.script = script(FAULTS["500"])
    with pytest.raises(ValueError, match=r"10 texts in a row without an answer, the last one: .*oops"):
        ask([str(n) for n in range(50)], retries=0)
    assert len(server.requests) == 10
    assert len(read_failures(ask.cache)) == 10


def test_the_key_comes_from_the_environment_and_is_not_written(server, ask, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "s3cret")
    ask(["text"], api_key_env="SOME_KEY")
    assert server.requests[0]["authorization"] == "Bearer s3cret"
    assert not any(b"s3cret" in path.read_bytes() for path in ask.cache.iterdir())
    monkeypatch.delenv("SOME_KEY")
    with pytest.raises(ValueError, match="SOME_KEY"):
        ask(["other"], api_key_env="SOME_KEY")


def test_an_answer_is_never_asked_for_again_unless_what_it_depends_on_changes(server, ask):
    ask(["a", "b"])
    ask(["b", "a", "b"], timeout=9.0, concurrency=4)
    assert len(server.requests) == 2
    ask(["a"], seed=1)
    assert len(server.requests) == 3
    extract(["a"], ONTOLOGY, Lexicon({"": {"plaque": []}}), Server(url=server.url, model="m"), cache=ask.cache)
    extract(["a"], ONTOLOGY, LEXICON, Server(url=server.url, model="other"), cache=ask.cache)
    assert len(server.requests) == 5
    assert not any(b'"a"' in path.read_bytes() for path in ask.cache.iterdir())  # hashes, not texts


def test_a_torn_last_line_costs_one_request_and_nothing_else(server, ask):
    server.script = script(SILENT | {"disease": "psoriasis"})
    ask(["a", "b", "c"])
    path = ask.cache / "answers.jsonl"
    path.write_bytes(path.read_bytes()[:-25])
    for _ in range(2):
        assert ask(["a", "b", "c"]) == [Knowledge(disease="psoriasis")] * 3
        assert server.texts == ["a", "b", "c", "c"]


PROGRAM = """
import sys
from pathlib import Path
import signal
from dermis.language.language_model import Server, extract
from tests.language.conftest import LEXICON, ONTOLOGY
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored
try:
    extract([str(n) for n in range(40)], ONTOLOGY, LEXICON, Server(url=sys.argv[1], model="m", concurrency=2),
            cache=Path(sys.argv[2]))
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_run_that_was_killed_half_way_goes_on_where_it_stopped(server, ask, number, status):
    hold = threading.Event()

    def holds_at_twenty(request, n):
        if n >= 20:
            hold.wait(90)
        return SILENT

    server.script = holds_at_twenty
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, server.url, str(ask.cache)])
    deadline = time.monotonic() + 60
    while len(server.requests) < 22 and time.monotonic() < deadline:
        time.sleep(0.02)
    program.send_signal(number)
    start = time.monotonic()
    assert program.wait(60) == status
    assert time.monotonic() - start < 45  # does not wait for the requests under way
    assert len(ask.lines()) == 20
    asked = set(server.texts[:20])
    hold.set()
    server.requests.clear()
    assert ask([str(n) for n in range(40)]) == [Knowledge()] * 40
    assert sorted(server.texts) == sorted({str(n) for n in range(40)} - asked)


def test_it_works_where_an_event_loop_runs_already(ask):
    import asyncio

    async def notebook():
        return ask(["text"])

    assert asyncio.run(notebook()) == [Knowledge()]


def test_progress_counts_distinct_texts_and_what_was_there(server, tmp_path):
    asked = Server(url=server.url, model="m", concurrency=1)
    extract(["a"], ONTOLOGY, LEXICON, asked, cache=tmp_path)
    seen = []
    extract(["a", "b", "b", "c"], ONTOLOGY, LEXICON, asked, cache=tmp_path, progress=lambda *at: seen.append(at))
    assert seen == [(2, 3), (3, 3)]


def test_the_estimate_counts_what_extract_will_ask(server, ask):
    asked = Server(url=server.url, model="m", temperature=0.0, price_in=2.0, price_out=10.0)
    texts = ["a" * 700, "a" * 700, "b" * 350, ""]
    before = estimate(texts, ONTOLOGY, LEXICON, asked, cache=ask.cache)
    assert not ask.cache.exists()
    assert server.requests == []
    assert (before.texts, before.cached, before.requests, before.tokens_out) == (3, 0, 2, 140)
    ask(texts)
    system = len(server.requests[0]["messages"][0]["content"]) / 3.5
    assert before.tokens_in == pytest.approx(200 + 100 + 2 * system, abs=3)
    assert before.cost == pytest.approx((before.tokens_in * 2 + 140 * 10) / 1e6)
    after = estimate([*texts, "new"], ONTOLOGY, LEXICON, asked, cache=ask.cache)
    assert (after.cached, after.requests) == (3, 1)
    assert "3 answered already; 1 requests" in str(after)


def test_an_estimate_without_prices_has_no_cost(ask):
    found = estimate(["a"], ONTOLOGY, LEXICON, Server(url="http://nowhere/v1", model="m"), cache=ask.cache)
    assert found.cost is None
    assert "price not given" in str(found)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"url": "localhost:8000"}, "http://localhost:8000/v1"),
        ({"url": "http://localhost:8000/v1/chat/completions"}, "base address"),
        ({"model": ""}, "model is empty"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"timeout": 0.0}, "timeout=0"),
        ({"retries": -1}, "retries=-1"),
        ({"price_in": 1.0}, "price_out"),
    ],
)
def test_wrong_settings_are_answered_with_a_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        Server(**({"url": "http://x/v1", "model": "m"} | settings))


def test_texts_say_where_they_are_from():
    assert Server(url="http://x/v1", model="qwen/2.5").origin == "llm:qwen/2.5"


def test_a_cache_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "c").write_text("")
    with pytest.raises(ValueError, match="must be a folder"):
        extract(["a"], ONTOLOGY, LEXICON, Server(url="http://x/v1", model="m"), cache=tmp_path / "c")


@pytest.mark.skipif(not os.environ.get("DERMIS_LLM_URL"), reason="set DERMIS_LLM_URL and DERMIS_LLM_MODEL")
@pytest.mark.net
def test_a_real_model_reads_a_plain_sentence(tmp_path):
    real = Server(url=os.environ["DERMIS_LLM_URL"], model=os.environ["DERMIS_LLM_MODEL"])
    text = "A 54-year-old man with psoriasis: a scaly plaque on the elbow, no crust."
    (known,) = extract([text], ONTOLOGY, LEXICON, real, cache=tmp_path)
    assert known.disease == "psoriasis"
    assert set(known.concepts) == {"plaque", "scale"}
