"""One question to an OpenAI-compatible server (vLLM, llama.cpp, Ollama, a hosted one), and what went wrong with it.

The client of the package ``openai`` waits and asks again by itself: time-outs, lost connections, 408, 409, 429 and 5xx,
with a delay that doubles from 0.5 to 8 s, or what ``Retry-After`` says, up to two minutes.
"""

import json
import os
from dataclasses import dataclass
from typing import Any, NamedTuple

from dermis.language.extraction_answer import UnreadableError
from dermis.language.extraction_prompt import Message


@dataclass(kw_only=True)
class Server:
    """A language model behind an OpenAI-compatible server."""

    url: str
    """base address, as http://localhost:8000/v1"""
    model: str
    """the model's name at that server"""
    api_key_env: str | None = None
    """environment variable that holds the key; none: the server wants no key"""
    concurrency: int = 8
    """requests under way at once"""
    timeout: float = 120.0
    """seconds to wait for one answer"""
    retries: int = 5
    """how often a request is sent again after a time-out, a lost connection, 429 or 5xx"""
    temperature: float | None = 0.0
    """0: the likeliest answer; none: the server's own, for models that accept no other"""
    seed: int | None = 0
    """of the server's sampling; none: not sent"""
    answer_tokens: int = 512
    """longest answer (max_tokens); a model that thinks aloud needs more"""
    price_in: float | None = None
    """price of a million tokens in, in any currency"""
    price_out: float | None = None
    """price of a million tokens out"""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")) or self.url.rstrip("/").endswith("/completions"):
            raise ValueError(f"url={self.url!r} should be a base address such as http://localhost:8000/v1.")
        if not self.model:
            raise ValueError("model is empty; it is the model's name at the server.")
        for name in ("concurrency", "timeout", "answer_tokens"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} should be above 0.")
        if self.retries < 0:
            raise ValueError(f"retries={self.retries} should be 0 or more.")
        if (self.price_in is None) != (self.price_out is None):
            raise ValueError("price_in and price_out belong together: give both or neither.")

    @property
    def origin(self) -> str:
        """What the column TEXT_origin says of texts from this model."""
        return f"llm:{self.model}"


class PermanentError(ValueError):
    """No text can be answered: a wrong key, a model that is not there."""


class NoAnswerError(Exception):
    """This text has no answer; others may have one."""


class UnavailableError(NoAnswerError):
    """It was the server, not the text: it does not answer, even after the retries."""


class Reply(NamedTuple):
    """What the model wrote, and what it cost."""

    content: str
    tokens_in: int
    tokens_out: int


class Chat:
    """Questions to one server; a context manager. Raises ValueError without the package or the key."""

    def __init__(self, server: Server, schema: dict[str, Any]) -> None:
        try:
            import openai
        except ImportError:
            raise ValueError("asking a language model needs a package more: pip install 'dermis[llm]'.") from None
        key = os.environ.get(server.api_key_env) if server.api_key_env else "none"
        if not key:
            raise ValueError(f"api_key_env={server.api_key_env!r}: no such environment variable, or it is empty.")
        self._openai, self._server = openai, server
        self._client = openai.AsyncOpenAI(
            base_url=server.url, api_key=key, timeout=server.timeout, max_retries=server.retries
        )
        self._complete: Any = self._client.chat.completions.with_raw_response.create
        settings = {"temperature": server.temperature, "seed": server.seed, "max_tokens": server.answer_tokens}
        self._settings = {"model": server.model, **{k: v for k, v in settings.items() if v is not None}}
        strict = {"name": "knowledge", "strict": True, "schema": schema}
        self._forms: list[dict[str, Any]] = [
            {"response_format": {"type": "json_schema", "json_schema": strict}},
            {"response_format": {"type": "json_object"}},
            {},
        ]
        """ways to ask for JSON, the strictest first; cut to the one that works once the server has taken it"""

    async def __aenter__(self) -> "Chat":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def ask(self, messages: list[Message]) -> Reply:
        """The model's answer.

        Raises PermanentError (nothing will work), UnavailableError (the server does not answer), NoAnswerError (it
        refuses this text, or the answer was cut off) or UnreadableError (it sent something that is no chat completion).
        """
        rejection = ""
        for form in self._forms:
            try:
                raw = await self._complete(messages=messages, **self._settings, **form)
            except (self._openai.BadRequestError, self._openai.UnprocessableEntityError) as error:
                rejection = f"the server rejects the request: {error.message}"
                continue
            except self._openai.APIError as error:
                raise self._explained(error) from error
            self._forms = [form]
            return self._read(raw.content)
        raise NoAnswerError(rejection) if len(self._forms) == 1 else UnavailableError(rejection)

    def _explained(self, error: Any) -> Exception:
        status, server = getattr(error, "status_code", None), self._server
        if status in (401, 403):
            held = f"the key in {server.api_key_env}" if server.api_key_env else "a request without a key (api_key_env)"
            return PermanentError(f"{server.url} does not accept {held}: {error.message}")
        if status == 404:
            return PermanentError(
                f"{server.url} has no model {server.model!r}, or is not the base address: {error.message}"
            )
        if status is None:
            return UnavailableError(f"{error.message.rstrip('.')} ({server.url}, {server.retries} retries)")
        return UnavailableError(error.message)

    def _read(self, body: bytes) -> Reply:
        try:
            completion = json.loads(body)
            choice, usage = completion["choices"][0], completion.get("usage") or {}
            content, refusal = choice["message"].get("content"), choice["message"].get("refusal")
            spent = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise UnreadableError("the server sent no chat completion") from None
        if refusal or choice.get("finish_reason") == "content_filter":
            raise NoAnswerError(f"the model refuses: {refusal or 'content filter'}")
        if choice.get("finish_reason") == "length":
            raise NoAnswerError(f"the answer was cut off at answer_tokens={self._server.answer_tokens}")
        if not isinstance(content, str) or not content.strip():
            raise UnreadableError("it is empty")
        return Reply(content, *spent)
