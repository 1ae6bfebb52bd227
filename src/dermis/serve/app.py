"""The application of one worker: the API, the page, health and metrics, behind the gate."""

import asyncio
import warnings
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import torch
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.types import ASGIApp

import dermis
from dermis.doctor.machine import machine
from dermis.pictures import PictureError
from dermis.serve.answers import Health
from dermis.serve.gate import FAILED, Gate, Refusal
from dermis.serve.metrics import Metrics
from dermis.serve.model_thread import ModelThread
from dermis.serve.replies import NOTICE
from dermis.serve.routes import RESPONSES, api
from dermis.serve.service import AskedError, CannotError, Service
from dermis.serve.settings import Settings

PAGE = Path(__file__).parent / "page"


def create(settings: Settings | None = None) -> ASGIApp:
    """The service that ``settings`` describe; without them those of the environment (worker processes).

    Raises ValueError for a model or embeddings that cannot be served.
    """
    settings = settings or Settings.from_environment()
    threads = settings.threads or max(1, machine().usable // settings.workers)
    torch.set_num_threads(threads)
    # what is uploaded stays in memory: the gate has read it already, and nobody asked for it on a disk
    MultiPartParser.spool_max_size = settings.max_bytes + 1
    # Pillow's are of what was sent: they are no lines of JSON, and Python remembers every one that it has shown
    warnings.filterwarnings("ignore", module=r"PIL\.")
    service, metrics = Service(settings), Metrics()
    model = ModelThread(settings.batch, metrics.batches.observe)
    decoders = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(model.stop)
        decoders.shutdown(cancel_futures=True)

    locked = [Depends(HTTPBearer(auto_error=False, description="the service's token"))] if settings.token_file else []
    app = FastAPI(
        title="dermis",
        version=dermis.__version__,
        summary="A dermatology model for one case at a time.",
        description=NOTICE,
        docs_url=None,  # their pages load from outside hosts
        redoc_url=None,
        lifespan=life,
        exception_handlers=HANDLERS,
    )
    app.include_router(api(service, model, decoders), dependencies=locked)

    @app.get("/health")
    async def health() -> Health:
        """Is it there?"""
        return Health(status="ok", version=dermis.__version__)

    told: dict[int | str, dict] = {200: {"content": {"text/plain": {}}}, 401: RESPONSES[401]}

    @app.get("/metrics", dependencies=locked, response_class=Response, responses=told)
    async def counts() -> Response:
        """For Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    app.mount("/page", StaticFiles(directory=PAGE))
    return Gate(app, settings, metrics)


async def _refused(_: Request, error: Exception) -> Response:
    """Every error in the API's shape."""
    if isinstance(error, RequestValidationError):
        return Refusal(422, "field", "; ".join(_said(error))).response()
    if isinstance(error, HTTPException):
        answer = Refusal(error.status_code, "http", str(error.detail)).response()
        answer.headers.update(error.headers or {})
        return answer
    if isinstance(error, CannotError):
        return Refusal(404, "cannot", str(error)).response()
    if isinstance(error, PictureError | AskedError):
        return Refusal(400, "picture" if isinstance(error, PictureError) else "request", str(error)).response()
    return FAILED.response()


def _said(error: RequestValidationError) -> list[str]:
    """What is wrong with each field, without the branches of types that pydantic tried."""
    said = {}
    for one in error.errors():
        field = ".".join(str(place) for place in one["loc"][1:] if isinstance(place, int) or str(place).isidentifier())
        if one["type"] != "none_required":
            said.setdefault(field, f"{field}: {one['msg']}")
    return list(said.values())


HANDLERS = dict.fromkeys(
    [RequestValidationError, HTTPException, CannotError, AskedError, PictureError, Exception], _refused
)
