"""The routes of the API: what is sent becomes a case, the model's thread sees it, and an answer is made of that."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, File, Form, Path, Response, UploadFile
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from dermis.cases.seven_point import rule_of
from dermis.model.use import TEMPLATE
from dermis.serve import answers, replies
from dermis.serve.model_thread import ModelThread
from dermis.serve.service import AskedError, CannotError, Case, Seen, Service

FAULTS = {
    400: "a picture that cannot be read, or a request that makes no sense",
    401: "no token, or a wrong one",
    404: "this service cannot do that",
    408: "the upload took too long",
    413: "too many bytes",
    422: "a field is missing or of the wrong kind",
    429: "the service has as much to do as it takes; Retry-After says when to come back",
    500: "the server failed",
    504: "the answer took too long",
}
RESPONSES: dict[int | str, dict] = {
    status: {"model": answers.Error, "description": said} for status, said in FAULTS.items()
}
CALIBRATE = "it classifies after `dermis calibrate`, without names."
"""what to do with a model that can classify in no way"""
Absent = SkipJsonSchema[None]
"""a field that was left out; not in OpenAPI's description, for a form cannot send null"""
Name = Annotated[str, Form(min_length=1, max_length=200)]
Texts = Annotated[list[Name], Form(max_length=100)]
Share = Annotated[float, Field(ge=0, le=1)]
Made = TypeVar("Made")
Sentence = Annotated[str | Absent, Form(min_length=1, max_length=2000)]


async def pictures_sent(
    image: Annotated[UploadFile | Absent, File(description="a photograph, or the only picture")] = None,
    dermoscopy: Annotated[UploadFile | Absent, File(description="the dermoscopic picture of the same lesion")] = None,
) -> dict[str, bytes]:
    """Column -> bytes; file names and content types are not looked at."""
    sent = {"image": image, "dermoscopy": dermoscopy}
    return {column: await file.read() for column, file in sent.items() if file is not None}


Pictures = Annotated[dict[str, bytes], Depends(pictures_sent)]


def api(service: Service, model: ModelThread, decoders: ThreadPoolExecutor) -> APIRouter:
    """All of ``/v1``."""
    router = APIRouter(prefix="/v1", responses=RESPONSES)

    def decoding(work: Callable[..., Made], *given: Any) -> Awaitable[Made]:
        return asyncio.get_running_loop().run_in_executor(decoders, work, *given)

    def opened(data: dict[str, bytes]) -> Awaitable[Case]:
        return decoding(service.open, data)

    async def seen(data: dict[str, bytes]) -> Seen:
        return await model(service.see, await opened(data))

    @router.get("/model")
    async def describe() -> answers.Model:
        """What this service is and can do."""
        return replies.description(service)

    @router.post("/classify")
    async def classify(
        pictures: Pictures, names: Texts | Absent = None, template: Name = TEMPLATE
    ) -> answers.Classification:
        """The calibrated decision; or with `names`, which of them fits best."""
        if names:
            instead = "leave the names out." if service.can["decide"] else CALIBRATE
            service.need("classify_names", f"this model knows no texts, so no names: {instead}")
            look = await seen(pictures)
            found = await model.alone(lambda: service.classify(look, names, template))
            return answers.Classification(source="names", probabilities=replies.named(found))
        instead = "send names to compare." if service.can["classify_names"] else CALIBRATE
        service.need("decide", f"this model has no calibrated decision: {instead}")
        look = await seen(pictures)
        verdict = await asyncio.to_thread(service.decide, look)
        return answers.Classification(
            source="decision",
            probabilities=replies.named(verdict.probabilities),
            possible=list(verdict.possible),
            sure=verdict.sure,
            why=verdict.why,
            ood=verdict.ood,
            promise=service.promise,
        )

    @router.post("/labels")
    async def labels(pictures: Pictures) -> answers.Labels:
        """What a model that was taught labels says of each."""
        service.need("labels", "this model was taught no labels.")
        look = await seen(pictures)
        said = await model.alone(lambda: service.labels(look))
        return answers.Labels(labels=[answers.Label(name=k, probabilities=replies.named(p)) for k, p in said.items()])

    @router.post("/concepts")
    async def concepts(pictures: Pictures) -> answers.Concepts:
        """How much more the picture resembles sentences with each visual concept than without."""
        service.need("concepts", "this model knows no texts, so no concepts.")
        look = await seen(pictures)
        found = await model.alone(lambda: service.concepts(look))
        return answers.Concepts(concepts=[answers.Concept(name=n, score=s) for n, s in found.items()])

    @router.post("/checklist")
    async def checklist(
        pictures: Pictures, rule: Annotated[Literal["weighted", "revised"], Form()] = "weighted"
    ) -> answers.SevenPoints:
        """The seven-point checklist of dermoscopy, with what is not known about its score."""
        service.need("checklist", "this model was not taught the seven criteria.")
        look = await seen(pictures)
        found = await model.alone(lambda: service.checklist(look, rule))
        points, counted = rule_of(rule).points, found.counted
        criteria = [
            answers.Criterion(name=name, probability=probability, points=points[name], counted=name in counted)
            for name, probability in found.criteria.items()
        ]
        told = {name: getattr(found, name) for name in ("score", "expected", "deviation", "suspicion", "suspected")}
        return answers.SevenPoints(criteria=criteria, highest=rule_of(rule).highest, threshold=found.threshold, **told)

    @router.post("/search")
    async def search(
        pictures: Pictures,
        text: Sentence = None,
        k: Annotated[int, Form(ge=1, le=100)] = 10,
        where: Texts | Absent = None,
        text_weight: Annotated[Share | Absent, Form()] = None,
    ) -> answers.Hits:
        """The most similar cases, to a picture, a text or both; `where` as in diagnosis=melanoma."""
        service.need("search", "this service has no cases to search in (--embeddings).")
        if text is not None:
            service.need(
                "search_text",
                "these cases are searched by pictures alone: their embeddings are not in a space of texts.",
            )
        case = await opened(pictures) if pictures else None
        look = None if case is None else await model(service.see, case)
        hits = await model.alone(lambda: service.search(case, look, text, where or [], k, text_weight))
        return answers.Hits(hits=replies.hits(service, *hits))

    @router.get("/cases/{row}/{column}", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
    async def picture(row: Annotated[int, Path(ge=0)], column: Literal["image", "dermoscopy"]) -> Response:
        """A small picture of a found case, where the service gives them out."""
        small = await decoding(service.thumbnail, row, column)
        return Response(small, media_type="image/jpeg")

    @router.post("/explain")
    async def explain(
        pictures: Pictures,
        texts: Texts | Absent = None,
        kind: Annotated[Literal["similarity", "rollout"] | Absent, Form()] = None,
        overlays: Annotated[bool, Form(alias="overlay")] = True,
    ) -> answers.Maps:
        """Where the picture resembles each text, or where the model looked."""
        if not service.can["explain"]:
            raise CannotError("this model has neither patches nor attention to show.")
        shown = await decoding(service.show, pictures)
        found = await model.alone(lambda: service.explain(shown, texts or [], kind))
        maps = [await asyncio.to_thread(replies.map_of, one, shown[one.column], overlays) for one in found]
        return answers.Maps(maps=maps)

    @router.post("/generate")
    async def generate(pictures: Pictures, dialogue: Sentence = None) -> answers.Text:
        """A text about the case: after M2CG, its chief complaint."""
        service.need("generate", "this model says no texts.")
        if dialogue is not None:
            service.need("dialogue", "this model's generator sees pictures only: leave the dialogue out.")
        case = await opened(pictures)
        return answers.Text(text=await model.alone(lambda: service.generate(case, dialogue)))

    @router.post("/embed")
    async def embed(pictures: Pictures, text: Sentence = None) -> answers.Embedding:
        """The vector of a case, or of a text, as the model makes it (not of unit length)."""
        if (text is None) == (not pictures):
            raise AskedError("send a case's pictures, or a text.")
        if text is not None:
            service.need("embed_text", "this model knows no texts.")
            vector = await model.alone(lambda: service.embed_text(text))
        else:
            look = await seen(pictures)
            vector = look.feature if look.projected is None else look.projected
        space = "projected" if service.can["embed_text"] else "trunk"
        return answers.Embedding(embedding=vector.tolist(), dim=len(vector), space=space)

    return router
