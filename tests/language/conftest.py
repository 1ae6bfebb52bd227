"""A language model's server on this machine that misbehaves as told."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dermis.language.language_model import Server, extract
from dermis.language.lexicon import Lexicon
from dermis.language.ontology import Ontology
from dermis.language.ontology_files import Entry

ONTOLOGY = Ontology(
    [
        Entry("neoplasm"),
        Entry("melanoma", ("neoplasm",), ("malignant melanoma",)),
        Entry("basal cell carcinoma", ("neoplasm",), ("BCC",)),
        Entry("psoriasis"),
    ]
)
LEXICON = Lexicon({"primary": {"plaque": [], "nodule": ["lump"]}, "surface": {"scale": ["scaly"], "crust": []}})
SILENT = {"disease": None, "concepts": [], "body_site": None, "symptoms": [], "age": None, "sex": None}


class Scripted(ThreadingHTTPServer):
    """Answers POST /v1/chat/completions with what ``script(request, n)`` returns for the n-th request (from 0).

    A dict or text is the assistant's message, a tuple (status, headers, body) is sent as it is, None hangs up.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.under_way, self.most_at_once, self.lock = [], 0, 0, threading.Lock()
        self.script = lambda request, n: SILENT

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def texts(self):
        """What was asked, in order, without the second messages of a conversation."""
        return [request["messages"][1]["content"] for request in self.requests]

    def handle_error(self, request, client_address):
        pass  # clients that hang up are part of the tests


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        request, server = json.loads(self.rfile.read(int(self.headers["content-length"]))), self.server
        request["authorization"] = self.headers["authorization"]
        with server.lock:
            n = len(server.requests)
            server.requests.append(request)
            server.under_way += 1
            server.most_at_once = max(server.most_at_once, server.under_way)
        try:
            reply = server.script(request, n) if self.path == "/v1/chat/completions" else (404, {}, b"not here")
        finally:
            with server.lock:
                server.under_way -= 1
        if reply is None:
            self.close_connection = True
            return
        status, headers, body = reply if isinstance(reply, tuple) else (200, {}, completion(reply))
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def completion(content, finish_reason="stop", **message):
    text = json.dumps(content) if isinstance(content, dict) else content
    choice = {
        "index": 0,
        "finish_reason": finish_reason,
        "message": {"role": "assistant", "content": text, **message},
    }
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    return json.dumps({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()


def error(status, message, **headers):
    return status, headers, json.dumps({"error": {"message": message}}).encode()


@pytest.fixture
def server():
    with Scripted() as scripted:
        thread = threading.Thread(target=scripted.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield scripted
        scripted.shutdown()
        thread.join()


@pytest.fixture
def ask(server, tmp_path):
    """extract(texts) with that server."""

    def run(texts, **settings):
        settings = {"concurrency": 1, "retries": 2, "timeout": 5.0} | settings
        return extract(texts, ONTOLOGY, LEXICON, Server(url=server.url, model="m", **settings), cache=tmp_path / "c")

    run.cache = tmp_path / "c"
    run.lines = lambda: [json.loads(line) for line in (tmp_path / "c" / "answers.jsonl").read_text().splitlines()]
    return run
