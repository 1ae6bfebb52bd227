"""The real client of the hub against a small server of one's own that speaks the endpoints of an upload."""

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from huggingface_hub import ModelCard, constants

from dermis.publish.hub import upload
from dermis.publish.publish import publish


class Hub(BaseHTTPRequestHandler):
    """Repositories: name -> {"private": …, "files": {path: bytes}}; ``commits`` counts."""

    repositories: dict
    commits: list

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            if asked["name"] == "forbidden":
                return self.answer(403, {"error": "Forbidden"})
            status = 409 if name in self.repositories else 200
            private = asked.get("visibility") == "private" or bool(asked.get("private"))
            self.repositories.setdefault(name, {"private": private, "files": {}})
            return self.answer(status, {"url": f"http://{self.headers['Host']}/{name}"})
        if self.path == "/api/validate-yaml":
            return self.answer(200, {"warnings": [], "errors": []})
        name = "/".join(self.path.split("/")[3:5])
        files = self.repositories[name]["files"]
        if "/preupload/" in self.path:
            asked = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": asked})
        self.commits.append(name)
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                del files[line["value"]["path"]]
        return self.answer(
            200, {"commitUrl": f"http://{self.headers['Host']}/{name}/commit/{40 * '0'}", "commitOid": 40 * "0"}
        )

    def do_GET(self):
        name = "/".join(self.path.split("?")[0].split("/")[3:5])
        if name not in self.repositories:
            return self.answer(404, {"error": "Repository not found"})
        repository = self.repositories[name]
        files = [{"rfilename": path} for path in repository["files"]]
        self.answer(200, {"id": name, "private": repository["private"], "siblings": files, "sha": 40 * "0"})
        return None

    def answer(self, status, content):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    handler = type("OwnHub", (Hub,), {"repositories": {}, "commits": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_repository_holds_the_folder_that_a_directory_would_and_in_one_commit(hub, folder, tmp_path):
    said = {"licence": "CC-BY-NC-4.0"}
    where, notes = publish(folder, "hf-hub:org/skin", said=said, private=True)
    publish(folder, tmp_path / "skin", said=said)
    expected, found = contents(tmp_path / "skin"), hub.repositories["org/skin"]["files"]
    assert set(found) == set(expected)
    assert {n for n in expected if found[n] != expected[n]} == {"README.md"}
    card = found["README.md"].decode()
    assert 'dermis.load("hf-hub:org/skin")' in card
    assert card.replace("hf-hub:org/skin", "skin").split("Stock")[0] == expected["README.md"].decode().split("Stock")[0]
    assert ModelCard(card).data.license == "cc-by-nc-4.0"
    assert hub.repositories["org/skin"]["private"]
    assert hub.commits == ["org/skin"]
    assert where.endswith("/org/skin")
    assert notes == [
        f"not published, because dermis did not write it: {n}" for n in ("embeddings/x.model", "patients.csv")
    ]


def test_what_the_older_version_had_is_gone_and_what_is_no_models_stays(hub, folder):
    older = {"dermis.json": b"{}", "onnx/text.onnx": b"", "text/tokenizer.json": b"", "LICENSE": b"x", "docs/a.md": b""}
    hub.repositories["org/skin"] = {"private": False, "files": older | {"extras/own.model": b"x"}}
    publish(folder, "hf-hub:org/skin", said={"licence": "MIT"}, decision=False)
    found = hub.repositories["org/skin"]["files"]
    assert found["LICENSE"] == b"x"
    assert {"docs/a.md", "extras/own.model"} <= set(found)
    assert not {"onnx/text.onnx", "text/tokenizer.json", "decision/decision.json"} & set(found)
    assert len(found["dermis.json"]) > 2


@pytest.mark.parametrize(
    "repository, private, said",
    [
        ({"private": False, "files": {"thesis.tex": b""}}, False, r"not a dermis model \(thesis.tex\)"),
        ({"private": False, "files": {"dermis.json": b""}}, True, "it is public already, and --private would have no"),
    ],
)
def test_somebody_elses_or_a_public_repository_is_left_alone(hub, tmp_path, repository, private, said):
    hub.repositories["org/skin"] = repository
    (tmp_path / "dermis.json").write_text("{}")
    with pytest.raises(ValueError, match=said):
        upload(tmp_path, "org/skin", private=private)
    assert hub.commits == []


def test_what_the_hub_refuses_is_a_sentence_and_so_is_a_hub_that_nobody_reaches(hub, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"not published to 'org/forbidden': .*403"):
        upload(tmp_path, "org/forbidden")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="not published to 'org/skin'"):
        upload(tmp_path, "org/skin")
