"""Knowledge of raw texts by a language model: an estimate first, then one request for each distinct text.

Every answer is checked against the vocabulary and kept on disk at once, so that a run that was interrupted goes on
where it stopped. Texts without an answer are None, and listed with the reason.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dermis.language.answer_cache import AnswerCache, key_of
from dermis.language.chat import Chat, NoAnswerError, PermanentError, Server, UnavailableError
from dermis.language.extraction_answer import Checked, UnreadableError, check, read_answer
from dermis.language.extraction_prompt import about_form, about_words, answer_schema, first_messages, system_prompt
from dermis.language.knowledge import Knowledge, reader
from dermis.language.lexicon import Lexicon
from dermis.language.ontology import Ontology
from dermis.progress import Report

FAILURES = "failures.jsonl"
"""in the cache folder: the last run's texts without an answer, one {"index", "reason"} a line"""
ATTEMPTS = 3  # answers that cannot be read, for one text
GIVE_UP_AFTER = 10  # texts in a row to which the server did not answer
BYTES_PER_TOKEN = 3.5  # measured with CLIP's tokenizer: 3.2 disease names, 4.1 to 4.6 running text
ANSWER_TOKENS = 70  # an answer with all keys filled


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run will take. Tokens are guessed from bytes (3.5 each), not counted by the model's own tokenizer."""

    texts: int
    """that are not blank"""
    cached: int
    """of them, those that are answered already"""
    requests: int
    """distinct texts still to ask; an answer with wrong words costs one more"""
    tokens_in: int
    tokens_out: int
    cost: float | None
    """in the currency of the prices; None without prices"""

    def __str__(self) -> str:
        cost = "price not given" if self.cost is None else f"cost about {self.cost:.2f}"
        return (
            f"{self.texts} texts, {self.cached} answered already; {self.requests} requests, about {self.tokens_in:,} "
            f"tokens in and {self.tokens_out:,} out; {cost}"
        )


def estimate(texts: Sequence[str], ontology: Ontology, lexicon: Lexicon, server: Server, *, cache: Path) -> Estimate:
    """Requests, tokens and cost of ``extract`` with the same arguments; asks nothing and writes nothing."""
    run = _Run(ontology, lexicon, server)
    known = AnswerCache(cache)
    spoken = [text for text in texts if text.strip()]
    todo = [text for text in dict.fromkeys(spoken) if run.key(text) not in known]
    tokens_in = sum(_tokens(run.system) + _tokens(text) for text in todo)
    tokens_out = ANSWER_TOKENS * len(todo)
    cost = None
    if server.price_in is not None and server.price_out is not None:
        cost = (tokens_in * server.price_in + tokens_out * server.price_out) / 1e6
    return Estimate(
        texts=len(spoken),
        cached=sum(run.key(text) in known for text in spoken),
        requests=len(todo),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cost=cost,
    )


def extract(
    texts: Sequence[str],
    ontology: Ontology,
    lexicon: Lexicon,
    server: Server,
    *,
    cache: Path,
    progress: Report = lambda done, total: None,
) -> list[Knowledge | None]:
    """What each text says, in the order of ``texts``; None where there is no answer.

    ``cache``: a folder. Answers are kept in its answers.jsonl by model, settings, prompt, vocabulary and text, and
    never asked for again; words outside the vocabulary that were dropped stand there too. The reasons for None are in
    its failures.jsonl. Blank texts say nothing and are not sent. Ctrl-C loses the requests under way, no answer.

    Raises ValueError if the server does not accept the key, has not got the model, or did not answer ten texts in a
    row; what was answered by then is kept.
    """
    run = _Run(ontology, lexicon, server)
    keys = {text: run.key(text) for text in texts if text.strip()}
    failures: dict[str, str] = {}
    with AnswerCache(cache) as known:
        todo = [text for text, key in keys.items() if key not in known]
        try:
            if todo:
                _wait_for(
                    _ask_all(run, todo, known, failures, lambda n: progress(len(keys) - len(todo) + n, len(keys)))
                )
        finally:
            lines = [json.dumps({"index": i, "reason": failures[t]}) for i, t in enumerate(texts) if t in failures]
            (cache / FAILURES).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        answers = {text: known[key] for text, key in keys.items() if key in known}
    return [answers.get(text) if text in keys else Knowledge() for text in texts]


def read_failures(cache: Path) -> list[tuple[int, str]]:
    """(index among the texts, reason) of the last run's texts without an answer."""
    lines = (cache / FAILURES).read_text(encoding="utf-8").splitlines()
    return [(entry["index"], entry["reason"]) for entry in map(json.loads, lines)]


def _tokens(text: str) -> int:
    return round(len(text.encode()) / BYTES_PER_TOKEN)


class _Answer(NamedTuple):
    checked: Checked
    tokens: tuple[int, int]


class _Run:
    """What all texts of a run have in common."""

    def __init__(self, ontology: Ontology, lexicon: Lexicon, server: Server) -> None:
        self.server = server
        self.system = system_prompt(ontology, lexicon)
        self.schema = answer_schema(ontology, lexicon)
        self._ontology, self._lexicon, self._read = ontology, lexicon, reader(ontology, lexicon)
        asked = (server.model, server.temperature, server.seed, self.system)
        spellings = ([ontology.names(n) for n in ontology.nodes], [lexicon.names(c) for c in lexicon.concepts])
        self._shared = key_of(asked, spellings)

    def key(self, text: str) -> str:
        return key_of(self._shared, text)

    async def answer(self, chat: Chat, text: str) -> _Answer:
        """Asks until the answer can be read and its words are known, within limits; raises NoAnswerError."""
        messages = first = first_messages(self.system, text)
        spent, problem, usable = [0, 0], "", None
        for _ in range(ATTEMPTS):
            content = ""
            try:
                content, *tokens = await chat.ask(messages)
                spent = [a + b for a, b in zip(spent, tokens, strict=True)]
                checked = check(read_answer(content), self._ontology, self._lexicon, self._read)
            except UnreadableError as error:
                problem = str(error)
                messages = first + about_form(content, problem) if content else first
                continue
            if not checked.wrong or usable:
                return _Answer(checked, (spent[0], spent[1]))
            usable, messages = checked, first + about_words(content, checked.wrong)
        if usable:  # nothing better could be read: its wrong words are left out
            return _Answer(usable, (spent[0], spent[1]))
        raise NoAnswerError(f"no usable answer in {ATTEMPTS} attempts: {problem}")


async def _ask_all(
    run: _Run, todo: list[str], known: AnswerCache, failures: dict[str, str], done: Callable[[int], None]
) -> None:
    waiting: Iterator[str] = iter(todo)
    finished = unanswered = 0

    async def worker(chat: Chat) -> None:
        nonlocal finished, unanswered
        for text in waiting:
            try:
                answer = await run.answer(chat, text)
            except NoAnswerError as error:
                failures[text] = str(error)
                unanswered = unanswered + 1 if isinstance(error, UnavailableError) else 0
                if unanswered == GIVE_UP_AFTER:
                    raise PermanentError(
                        f"{unanswered} texts in a row without an answer, the last one: {error}."
                    ) from error
            else:
                unanswered = 0
                checked, tokens = answer
                known.add(
                    run.key(text), checked.knowledge, model=run.server.model, dropped=checked.wrong, tokens=tokens
                )
            finished += 1
            done(finished)

    async with Chat(run.server, run.schema) as chat:
        workers = [asyncio.ensure_future(worker(chat)) for _ in range(min(run.server.concurrency, len(todo)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)


def _wait_for(work: Coroutine[None, None, None]) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as pool:  # a notebook has a loop of its own under way
        pool.submit(asyncio.run, work).result()
