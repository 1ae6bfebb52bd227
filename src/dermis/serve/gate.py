"""What every request passes before a route sees it: token, room, size and time; and what every answer is given.

Bodies are read here, whole and bounded, before anything is decoded: so a route never waits for a slow sender, nothing
is spooled to a disk, and three times ``waiting`` x ``max_bytes`` bounds the memory of uploads (parts, body, form). A
request beyond ``waiting`` is told at once to come back (429); its body is read off and thrown away, or its sender would
see a broken connection.
"""

import asyncio
import hmac
import time
import uuid

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dermis.serve.log import log
from dermis.serve.metrics import Metrics
from dermis.serve.settings import Settings

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
FORM_BYTES = 200_000
"""of a request without pictures: as much text as all fields may have"""
OFF_SECONDS = 2.0
"""how long the body of a request that is sent away is read off"""


class Refusal(Exception):  # noqa: N818 (it is an answer, not an error)
    """An answer other than the one that was asked for."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers

    def response(self) -> JSONResponse:
        """As every error of the API looks."""
        told = {"error": {"code": self.code, "message": self.message}}
        return JSONResponse(told, self.status, {name.replace("_", "-"): value for name, value in self.headers.items()})


FAILED = Refusal(500, "failed", "The server failed at this request.")


class Gate:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        self.token, self.open = settings.token(), 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, answered = time.monotonic(), _Answer(send)
        try:
            await self._pass(scope, receive, answered)
        except Refusal as refusal:
            await answered.instead(refusal, scope, receive)
        except Exception:
            log.exception("a request failed", extra={"facts": {"id": answered.id}})
            await answered.instead(FAILED, scope, receive)
        finally:
            self._account(scope, answered, time.monotonic() - started)

    async def _pass(self, scope: Scope, receive: Receive, answered: "_Answer") -> None:
        path = scope["path"]
        guarded = path.startswith("/v1/") or path == "/metrics"
        if guarded and self.token is not None and not self._bears(scope):
            await _read_off(receive, self.settings.max_bytes)
            raise Refusal(401, "token", "This service needs a bearer token.", WWW_Authenticate="Bearer")
        if scope["method"] != "POST":
            await self.app(scope, receive, answered)
            return
        if self.open >= self.settings.waiting:
            await _read_off(receive, self.settings.max_bytes)
            raise Refusal(429, "busy", "The service has as much to do as it takes; try again.", Retry_After="1")
        self.open += 1
        self.metrics.open.inc()
        try:
            body = await self._body(scope, receive)
            await self._answer_in_time(scope, body, receive, answered)
        finally:
            self.open -= 1
            self.metrics.open.dec()

    def _bears(self, scope: Scope) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(given, b"Bearer " + (self.token or "").encode())

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        headers = dict(scope["headers"])
        with_pictures = headers.get(b"content-type", b"").lower().startswith(b"multipart/form-data")
        allowed = self.settings.max_bytes if with_pictures else min(FORM_BYTES, self.settings.max_bytes)
        too_much = Refusal(413, "too_large", f"A request has at most {allowed:,} bytes.")
        said = headers.get(b"content-length", b"0")
        if said.isdigit() and (len(said) > 18 or int(said) > allowed):  # Python reads no number of 4,300 digits
            await _read_off(receive, 2 * allowed)
            raise too_much
        parts, count = [], 0
        try:
            async with asyncio.timeout(self.settings.seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refusal(400, "gone", "The sender left before its request was whole.")
                    count += len(part := message.get("body", b""))
                    if count > allowed:
                        break
                    parts.append(part)
                    if not message.get("more_body", False):
                        self.metrics.bytes.inc(count)
                        return b"".join(parts)
        except TimeoutError:
            seconds = f"{self.settings.seconds:g} seconds"
            raise Refusal(408, "slow_upload", f"The request was not whole after {seconds}.") from None
        parts.clear()
        await _read_off(receive, allowed)
        raise too_much

    async def _answer_in_time(self, scope: Scope, body: bytes, receive: Receive, answered: "_Answer") -> None:
        """Run the application; stop it when its time is over or its client has left."""
        given = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return given.pop() if given else await receive()

        async def left() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        work = asyncio.ensure_future(self.app(scope, replay, answered))
        client = asyncio.ensure_future(left())
        done, _ = await asyncio.wait({work, client}, timeout=self.settings.seconds, return_when=asyncio.FIRST_COMPLETED)
        client.cancel()
        if work in done:
            work.result()
            return
        work.cancel()
        await asyncio.wait({work}, timeout=1)
        if client in done:
            raise Refusal(499, "gone", "The client left before the answer.")
        seconds = f"{self.settings.seconds:g} seconds"
        raise Refusal(504, "too_slow", f"The answer was not there after {seconds}.")

    def _account(self, scope: Scope, answered: "_Answer", seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.requests.labels(route, answered.status).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        facts = {"id": answered.id, "method": scope["method"], "route": route, "status": answered.status}
        log.info("request", extra={"facts": facts | {"ms": round(1000 * seconds, 1)}})


class _Answer:
    """``send`` with the headers of every answer; knows what has been sent."""

    def __init__(self, send: Send) -> None:
        self.send, self.status, self.id = send, 0, uuid.uuid4().hex

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            have = {name.lower() for name, _ in message["headers"]}
            more = {**HEADERS, "X-Request-Id": self.id}
            added = [(n.lower().encode(), v.encode()) for n, v in more.items() if n.lower().encode() not in have]
            message = {**message, "headers": [*message["headers"], *added]}
        await self.send(message)

    async def instead(self, refusal: Refusal, scope: Scope, receive: Receive) -> None:
        """Answer with the refusal, unless an answer has begun."""
        if not self.status:
            await refusal.response()(scope, receive, self)


async def _read_off(receive: Receive, allowed: int) -> None:
    """Receive and drop what is left of a body, as far as that is reasonable."""
    count = 0
    try:
        async with asyncio.timeout(OFF_SECONDS):
            while count <= allowed:
                message = await receive()
                count += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return
