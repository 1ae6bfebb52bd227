"""The service as a process: it starts or says why not, ends gracefully, and replaces a worker that is killed."""

import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.serve.conftest import begun


def multipart(picture):
    """Head and body of a request to /v1/embed."""
    body = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n' + picture + b"\r\n--b--\r\n"
    head = "POST /v1/embed HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode(), body


def test_what_was_begun_is_answered_after_sigterm(two_tower, tiny_cases, tmp_path):
    cases = tiny_cases[1]
    head, body = multipart((cases.root / cases.table["image"].iloc[0]).read_bytes())
    process, url = begun(two_tower[0], tmp_path / "serve.log")
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as slow:
        slow.sendall(head + body[:500])
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        with pytest.raises(httpx.TransportError):
            httpx.get(url + "/health", timeout=5)
        slow.sendall(body[500:])
        answer = b""
        while part := slow.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"space":"projected"' in answer
    assert process.wait(20) == -signal.SIGTERM  # as the shell is told of one that a signal ended
    assert "Finished server process" in (tmp_path / "serve.log").read_text()


def workers_of(process):
    """Process ids of the workers: children that are no resource tracker."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]


@pytest.mark.slow  # load until a new worker has started: half a minute
def test_a_killed_worker_takes_only_its_own_requests_with_it(two_tower, tiny_cases, tmp_path):
    cases = tiny_cases[1]
    picture = (cases.root / cases.table["image"].iloc[0]).read_bytes()
    process, url = begun(two_tower[0], tmp_path / "serve.log", "--workers", "2", "--threads", "1")
    done, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            try:
                answer = httpx.post(url + "/v1/embed", files={"image": ("x", picture)}, timeout=20)
                done.append((time.monotonic(), answer.status_code))
            except httpx.TransportError as error:
                done.append((time.monotonic(), type(error).__name__))

    askers = [threading.Thread(target=ask) for _ in range(4)]
    try:
        _until(lambda: len(workers_of(process)) == 2)
        for asker in askers:
            asker.start()
        _until(lambda: len(done) > 40)
        before = workers_of(process)
        killed = time.monotonic()
        os.kill(before[0], signal.SIGKILL)
        _until(lambda: len(workers_of(process)) == 2 and before[0] not in workers_of(process))
        _until(lambda: sum(at > killed for at, _ in done) > 100)
        stop.set()
        for asker in askers:
            asker.join()
        broken = [what for _, what in done if what != 200]
        assert set(broken) <= {"RemoteProtocolError", "ReadError", "ConnectError", 503}
        assert len(broken) <= len(askers)  # each asker has at most one request there
        assert min(at for at, what in done if at > killed and what == 200) - killed < 5
        counts = httpx.get(url + "/metrics").text
        counted = re.search(r'dermis_requests_total\{route="/v1/embed",status="200"\} (\S+)', counts)
        assert counted is not None
        assert float(counted[1]) == sum(what == 200 for _, what in done)  # of the dead worker too
    finally:
        stop.set()
        process.terminate()
    assert process.wait(30) == 0


def _until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["nowhere"], "no folder at nowhere"),
        (["MODEL", "--embeddings", "nowhere"], "no embeddings in nowhere"),
        (["MODEL", "--port", "TAKEN"], "cannot listen at 127.0.0.1, port"),
        (["MODEL", "--host", "no.such.host.invalid"], "cannot listen at no.such.host.invalid"),
        (["MODEL", "--token-file", "nowhere"], "the token file cannot be read"),
        (["MODEL", "--waiting", "0"], "waiting must be more than 0"),
    ],
)
def test_what_cannot_be_served_is_a_sentence(two_tower, capsys, options, said):
    from dermis.cli import main

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        given = [{"MODEL": str(two_tower[0]), "TAKEN": port}.get(option, option) for option in options]
        with pytest.raises(SystemExit) as end:
            main(["serve", *given])
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_embeddings_of_another_model_are_refused(two_tower, speaking, capsys):
    from dermis.cli import main

    with pytest.raises(SystemExit) as end:
        main(["serve", str(speaking), "--embeddings", str(two_tower[1]), "--port", "0"])
    assert end.value.code == 2
    assert "was not made by" in capsys.readouterr().err
