"""The web application: routes, their description, the page.

`create_app` has no effect but what it returns; the model thread starts with the application's lifespan.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from multimix.inference.predictor import Predictor
from multimix.serve.about import About
from multimix.serve.guard import Guard, Refused
from multimix.serve.schemas import REQUEST_BODY, Answers, Card, Problem, State
from multimix.serve.service import Service
from multimix.serve.settings import Settings
from multimix.serve.wanted import Wanted

STATIC = Path(__file__).parent / "static"

_DESCRIPTION = """Classifies images and segments what is in them; `/v1/model` says what the model was trained for.
**Not for clinical use.**

Images are PNG, JPEG or DICOM; none is written to the disk or named in a log. Every refusal is a 4xx with a
one-line `detail`."""

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The request is damaged."},
    401: {"model": Problem, "description": "The token is missing or wrong."},
    403: {"model": Problem, "description": "Sent by a page of another site."},
    421: {"model": Problem, "description": "The Host header is not the service's."},
    431: {"model": Problem, "description": "The headers are too large."},
}
_PREDICT: dict[int | str, dict[str, Any]] = _PROBLEMS | {
    200: {
        "model": Answers,
        "description": "At least one image was answered. PNG: one picture of one image. Zip: several, or DICOM.",
        "content": {"image/png": {}, "application/zip": {}},
    },
    408: {"model": Problem, "description": "The body arrived too slowly."},
    413: {"model": Problem, "description": "Too many bytes or files."},
    415: {"model": Problem, "description": "The body is not multipart/form-data."},
    422: {"model": Problem, "description": "No file could be used, or a parameter is wrong."},
    503: {"model": Problem, "description": "Too busy; try again later."},
}


def create_app(predictor: Predictor, about: About, settings: Settings, threads: int = 1) -> FastAPI:
    """The application that answers with `predictor`; the network uses `threads` cores."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = Service(predictor, about, settings.limits, threads)
        try:
            await asyncio.to_thread(app.state.service.warm_up)
            yield
        finally:
            app.state.service.close()

    # The pages that FastAPI makes of the description load scripts from elsewhere; the description itself stays.
    app = FastAPI(
        title="multimix",
        version=about.algorithm.version,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses=_PROBLEMS,
    )
    app.add_middleware(Guard, settings=settings)
    _add_refusals(app)
    _add_predict(app)
    _add_state(app)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    _describe(app, secured=settings.token is not None)
    return app


def _add_predict(app: FastAPI) -> None:
    @app.post(
        "/v1/predict",
        summary="Answer images",
        responses=_PREDICT,
        openapi_extra={"requestBody": REQUEST_BODY},
        tags=["answers"],
    )
    async def predict(request: Request, wanted: Annotated[Wanted, Query()]) -> Response:
        service: Service = request.app.state.service
        try:
            return await service.predict(request.headers, request.stream(), wanted)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it

    @app.get("/v1/model", summary="What is known about the model", response_model=Card, tags=["answers"])
    async def model(request: Request) -> Any:
        return request.app.state.service.about.card


def _add_state(app: FastAPI) -> None:
    @app.get("/health", summary="The service runs", tags=["state"])
    async def health() -> State:
        return State(status="ok")

    @app.get(
        "/ready",
        summary="Images are answered",
        responses={503: {"model": Problem, "description": "Not yet, or no longer."}},
        tags=["state"],
    )
    async def ready(request: Request) -> State:
        if not request.app.state.service.ready:
            raise Refused(503, "The model thread does not run; restart the service.")
        return State(status="ok")

    @app.get(
        "/metrics",
        summary="Counters for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        tags=["state"],
    )
    async def metrics(request: Request) -> Response:
        registry = request.app.state.service.metrics.registry
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return error.response()

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        reasons = {404: "There is nothing at this address.", 405: "This address takes no such method."}
        reason = reasons.get(error.status_code, str(error.detail))
        return JSONResponse({"detail": reason}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = " ".join(str(part) for part in first["loc"][1:])
        return JSONResponse({"detail": " ".join(f"{where}: {first['msg']}".split())}, 422)


def _describe(app: FastAPI, *, secured: bool) -> None:
    """Add to the OpenAPI description that a token is needed, where one is."""
    if not secured:
        return
    description = app.openapi()
    description["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path in ("/v1/predict", "/v1/model", "/metrics"):
        for operation in description["paths"][path].values():
            operation["security"] = [{"token": []}]
