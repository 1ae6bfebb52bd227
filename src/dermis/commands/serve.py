"""dermis serve"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from dermis.commands.arguments import Model, called

MISSING = "dermis serve needs its extra: pip install 'dermis[serve]' (missing: {})."


def serve(
    model: Model,
    embeddings: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    token_file: Path | None = None,
    show: tuple[str, ...] = ("diagnosis",),
    thumbnails: bool = False,
    workers: int = 1,
    threads: int | None = None,
    waiting: int = 32,
    batch: int = 16,
    max_bytes: Annotated[int, tyro.conf.arg(metavar="BYTES")] = 20_000_000,
    max_pixels: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 50_000_000,
    seconds: float = 30.0,
) -> int:
    """Serve a model: an HTTP API (its description: /openapi.json) and a page to drop pictures on, at http://HOST:PORT.

    Nothing that is sent is written anywhere or logged. After `dermis calibrate` the model decides with calibrated sets
    and "not sure"; with --embeddings it shows similar cases. Research software: not a medical device.

    Only this machine can ask, unless --host says otherwise: then give it a --token-file, and put a proxy with TLS
    before it. Ctrl-C or SIGTERM: what is being answered is finished first.

    Args:
        model: a model folder (dermis or open_clip), local-dir:FOLDER or hf-hub:ORG/REPO
        embeddings: a folder that `dermis embed` wrote with this model; cases are searched there
        host: address to listen at; 0.0.0.0 for all
        port: 0 takes any that is free, and says which
        token_file: a file whose first line is the token that requests must bear (Authorization: Bearer …)
        show: columns of a similar case that are told
        thumbnails: give out small pictures of similar cases too
        workers: processes, each with a model of its own; with two or more, one that dies is replaced
        threads: processor threads of each worker (none: the cores by the workers)
        waiting: requests that are worked on or wait at once, in each worker; others get 429 and come back
        batch: pictures that go through the model together at most
        max_bytes: of one request; more gets 413
        max_pixels: of one picture, read from its header; more gets 400
        seconds: for a request's upload (408), and again for its answer (504)
    """
    try:
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
        from fastapi import FastAPI  # noqa: F401
    except ImportError as error:
        raise ValueError(MISSING.format(error.name)) from None
    import torch

    from dermis.serve.listen import listen
    from dermis.serve.settings import Settings

    given: dict[str, Any] = {
        "embeddings": None if embeddings is None else str(embeddings),
        "token_file": None if token_file is None else str(token_file),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
    }
    given |= {"model": model, "show": show, "thumbnails": thumbnails, "workers": workers, "threads": threads}
    given |= {"waiting": waiting, "batch": batch, "max_bytes": max_bytes, "max_pixels": max_pixels, "seconds": seconds}
    return listen(Settings(**given), host, port)


def run(arguments: Sequence[str]) -> int:
    """`dermis serve`"""
    return called(serve, "serve", arguments)
