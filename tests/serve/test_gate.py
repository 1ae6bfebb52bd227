"""What a request passes: token, room, bytes and time. Driven as an ASGI server drives it, message by message."""

import asyncio
import json

import pytest

from dermis.serve.gate import Gate
from dermis.serve.metrics import Metrics
from dermis.serve.settings import Settings

TOKEN = "a-token-of-thirty-signs-or-more"


class Room:
    """An application that answers when it is let go, and says what it was given."""

    def __init__(self):
        self.go, self.bodies, self.cancelled = asyncio.Event(), [], 0

    async def __call__(self, scope, receive, send):
        body = (await receive())["body"]
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


async def ask(gate, *parts, method="POST", path="/v1/x", headers=(), hold=None, leave=None):
    """Status, headers and body of one request; the parts of its body come one by one, then the client waits.

    ``hold`` seconds before the last part; ``leave`` seconds until the client goes away.
    """
    waiting, sent = list(parts or [b""]), []

    async def receive():
        if waiting:
            if hold and len(waiting) == 1:
                await asyncio.sleep(hold)
            return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}
        await asyncio.sleep(leave or 60)
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
    await gate(scope, receive, send)
    if not sent:
        return None, {}, b""
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], told, b"".join(message.get("body", b"") for message in sent[1:])


def gated(app, **changes):
    given = {"model": "none", "waiting": 2, "max_bytes": 100, "seconds": 0.3} | changes
    return Gate(app, Settings(**given), Metrics())


def code(body):
    return json.loads(body)["error"]["code"]


def test_the_body_arrives_whole():
    async def scene():
        room = Room()
        room.go.set()
        answer = await ask(gated(room), b"ab", b"cd")
        return answer, room.bodies

    (status, headers, _), bodies = asyncio.run(scene())
    assert (status, bodies) == (200, [b"abcd"])
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cache-control"] == "no-store"
    assert len(headers["x-request-id"]) == 32


def test_one_more_than_there_is_room_for_comes_back_later():
    async def scene():
        room = Room()
        gate = gated(room, seconds=5)
        inside = [asyncio.ensure_future(ask(gate)) for _ in range(2)]
        await asyncio.sleep(0.02)
        late = await ask(gate, b"x" * 50, b"y" * 50)
        room.go.set()
        done = await asyncio.gather(*inside)
        again = await ask(gate)
        return late, [status for status, _, _ in done], again[0], gate

    late, done, again, gate = asyncio.run(scene())
    assert (late[0], code(late[2]), late[1]["retry-after"]) == (429, "busy", "1")
    assert (done, again) == ([200, 200], 200)
    assert gate.open == 0
    assert b'dermis_requests_total{route="other",status="429"} 1.0' in gate.metrics.text()


FORM = (b"content-type", b"multipart/form-data; boundary=b")


def test_a_request_without_pictures_is_short():
    async def scene():
        room = Room()
        room.go.set()
        gate = gated(room, max_bytes=1_000_000)
        body = b"&" * 200_001
        return await ask(gate, body), await ask(gate, body, headers=[FORM]), await ask(gate, body[1:])

    assert [status for status, _, _ in asyncio.run(scene())] == [413, 200, 200]


@pytest.mark.parametrize("said", [(), [(b"content-length", b"130")], [(b"content-length", b"1" * 5000)]])
def test_too_many_bytes_are_refused_said_or_not(said):
    async def scene():
        room = Room()
        room.go.set()
        gate = gated(room)
        return await ask(gate, b"x" * 60, b"x" * 70, headers=said), room.bodies, gate.open

    (status, _, body), bodies, still_open = asyncio.run(scene())
    assert (status, code(body), bodies, still_open) == (413, "too_large", [], 0)


def test_as_many_bytes_as_are_allowed_are_taken():
    async def scene():
        room = Room()
        room.go.set()
        return await ask(gated(room), b"x" * 60, b"x" * 40, headers=[(b"content-length", b"100")])

    assert asyncio.run(scene())[0] == 200


def test_a_slow_sender_gives_its_place_back():
    async def scene():
        room = Room()
        room.go.set()
        gate = gated(room)
        slow = await ask(gate, b"x", b"y", hold=5)
        return slow, gate.open, (await ask(gate))[0]

    slow, still_open, after = asyncio.run(scene())
    assert (slow[0], code(slow[2]), still_open, after) == (408, "slow_upload", 0, 200)


def test_an_answer_that_takes_too_long_is_given_up():
    async def scene():
        room = Room()
        gate = gated(room)
        return await ask(gate), room.cancelled, gate.open

    (status, _, body), cancelled, still_open = asyncio.run(scene())
    assert (status, code(body), cancelled, still_open) == (504, "too_slow", 1, 0)


def test_the_work_of_a_client_that_left_is_given_up():
    async def scene():
        room = Room()
        gate = gated(room, seconds=5)
        await asyncio.wait_for(ask(gate, leave=0.05), 2)
        return room.cancelled, gate.open

    assert asyncio.run(scene()) == (1, 0)


def test_an_application_that_fails_is_a_500_that_says_nothing(caplog):
    async def broken(scope, receive, send):
        raise RuntimeError("Mrs Smith's photograph")

    status, _, body = asyncio.run(ask(gated(broken)))
    assert (status, code(body)) == (500, "failed")
    assert b"Smith" not in body


@pytest.mark.parametrize(
    ("path", "bearer", "status"),
    [
        ("/v1/model", None, 401),
        ("/metrics", None, 401),
        ("/v1/model", b"Bearer " + TOKEN.encode()[:-1], 401),
        ("/v1/model", b"Basic " + TOKEN.encode(), 401),
        ("/v1/model", b"Bearer " + TOKEN.encode(), 200),
        ("/health", None, 200),
        ("/", None, 200),
    ],
)
def test_a_token_guards_the_api_and_the_counts(tmp_path, path, bearer, status):
    (tmp_path / "token").write_text(f"{TOKEN}\n")

    async def scene():
        room = Room()
        room.go.set()
        gate = gated(room, token_file=str(tmp_path / "token"))
        headers = [] if bearer is None else [(b"authorization", bearer)]
        return await ask(gate, method="GET", path=path, headers=headers)

    found, headers, body = asyncio.run(scene())
    assert found == status
    if status == 401:
        assert (code(body), headers["www-authenticate"]) == ("token", "Bearer")


@pytest.mark.parametrize("line", ["", "short", "white space in the middle of it", "ümläute-sind-nicht-erlaubt"])
def test_a_token_file_without_a_token_is_refused(tmp_path, line):
    (tmp_path / "token").write_text(line)
    with pytest.raises(ValueError, match="must be a token of 16 or more"):
        Settings(model="none", token_file=str(tmp_path / "token"))


def test_settings_reach_the_workers_as_they_are(monkeypatch):
    monkeypatch.setenv("DERMIS_SERVE", "")
    given = Settings(model="m", embeddings="e", show=("diagnosis", "skin_tone"), seconds=2.5)
    given.to_environment()
    assert Settings.from_environment() == given


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"waiting": 0}, "waiting must be more than 0; it is 0"),
        ({"thumbnails": True}, "thumbnails has no effect without embeddings"),
        ({"show": ("patient.age",)}, "show has no effect without embeddings"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        Settings(model="m", **changes)
