"""One request's way: body, files, decoded images, batch, answer; every step bounded and off the event loop."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from multimix.errors import ImageError
from multimix.inference.predictor import Predictor
from multimix.inference.stability import Job, Result, Work
from multimix.serve.about import About
from multimix.serve.answers import NOTICE, Answer, build, failed, rejected, zipped
from multimix.serve.batching import Batcher
from multimix.serve.budget import Budget
from multimix.serve.decode import declared_pixels, decode, reason
from multimix.serve.guard import Refused
from multimix.serve.metrics import Metrics
from multimix.serve.settings import Limits
from multimix.serve.uploads import Upload, check_length, drain, read_uploads
from multimix.serve.wanted import Wanted
from multimix.types import Radiograph


class Service:
    """Answers requests with one model; belongs to one event loop and is closed at its end."""

    def __init__(self, predictor: Predictor, about: About, limits: Limits, threads: int) -> None:
        self.predictor = predictor
        self.about = about
        self.limits = limits
        self._work = Work(predictor, threads)
        self._batcher: Batcher[Job, Result] = Batcher(
            self._timed, size=limits.batch, patience=limits.patience
        )
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="multimix-image")
        self._bytes = Budget(limits.held_bytes)
        self._pixels = Budget(limits.held_pixels)
        self.metrics = Metrics(lambda: self._batcher.waiting)

    @property
    def ready(self) -> bool:
        """Whether images are answered."""
        return self._batcher.alive

    def warm_up(self) -> None:
        """Answer one full batch of nothing: the first takes longest, and memory grows to what it will be."""
        side = self.predictor.spec.size
        blank = Radiograph(np.zeros((self.predictor.spec.channels, side, side), np.float32))
        self._work([Job(blank)] * self.limits.batch)

    def close(self) -> None:
        """Finish what has begun and end all threads."""
        self._threads.shutdown(cancel_futures=True)
        self._batcher.close()
        self._work.close()

    async def predict(self, headers: Headers, stream: AsyncIterator[bytes], wanted: Wanted) -> Response:
        """The response to a multipart request for what is `wanted`. Raises Refused."""
        start, status = time.monotonic(), 500
        try:
            response = await self._predict(headers, stream, wanted)
            status = response.status_code
            return response
        except ClientDisconnect:
            status = 400  # as the app answers, though nobody hears it
            raise
        except Refused as refused:
            status = refused.status
            # Told before its end, a client that still sends would see a broken connection instead.
            if "expect" not in headers and await drain(stream, self.limits):
                raise
            more = {**(refused.headers or {}), "Connection": "close"}
            raise Refused(refused.status, refused.reason, more) from refused
        finally:
            self.metrics.requests.labels(str(status)).inc()
            self.metrics.seconds.observe(time.monotonic() - start)

    async def _predict(self, headers: Headers, stream: AsyncIterator[bytes], wanted: Wanted) -> Response:
        self._check(wanted)
        async with self._bytes.hold(check_length(headers, self.limits)):
            uploads = await read_uploads(headers, stream, self.limits)
            try:
                async with asyncio.timeout(self.limits.seconds):
                    answers = await asyncio.gather(*(self._answer(upload, wanted) for upload in uploads))
                    for answer in answers:
                        self.metrics.images.labels(answer.line["status"]).inc()
                    return await self._in_thread(self._respond, answers, wanted)
            except TimeoutError as error:
                raise Refused(
                    503,
                    f"No answer within {self.limits.seconds:g} seconds; try again later or send fewer images.",
                    {"Retry-After": "10"},
                ) from error

    def _check(self, wanted: Wanted) -> None:
        if wanted.format == "mask" and not self.predictor.spec.segment:
            raise Refused(422, "This model segments nothing, so it has no mask; ask for another format.")
        if wanted.format == "saliency" and not self.predictor.spec.classify:
            raise Refused(
                422, "This model classifies nothing, so it has no saliency; ask for another format."
            )

    async def _answer(self, upload: Upload, wanted: Wanted) -> Answer:
        try:
            with self._batcher.coming():
                pixels = await self._in_thread(declared_pixels, upload.data, self.limits.pixels)
            async with self._pixels.hold(pixels):
                with self._batcher.coming():
                    radiograph = await self._in_thread(self._decode, upload.data)
                    future = self._batcher.submit(Job(radiograph, wanted.stability, wanted.force))
                result = await asyncio.wrap_future(future)
                if result.prediction.rejected and not wanted.force:
                    return await self._in_thread(
                        rejected, upload.name, upload.data, radiograph, result.prediction, wanted
                    )
                return await self._in_thread(
                    build, upload.name, upload.data, radiograph, result, wanted, self.about.algorithm
                )
        except ImageError as error:
            return failed(upload.name, reason(error))

    def _decode(self, data: bytes) -> Radiograph:
        return decode(data, self.predictor.spec.channels)

    def _respond(self, answers: list[Answer], wanted: Wanted) -> Response:
        document = self._document(answers)
        if not any(answer.ok for answer in answers):
            return JSONResponse({"detail": _why(answers), **document}, 422)
        if wanted.format == "json":
            return JSONResponse(document)
        pictures = list(answers[0].pictures.values())
        if len(answers) == len(pictures) == 1 and wanted.format != "dicom":
            return Response(pictures[0], media_type="image/png")
        disposition = {"Content-Disposition": 'attachment; filename="multimix.zip"'}
        return Response(zipped(answers, document), media_type="application/zip", headers=disposition)

    def _document(self, answers: list[Answer]) -> Mapping[str, Any]:
        who = self.about.algorithm
        return {
            "files": [answer.line for answer in answers],
            "model": {"name": who.name, "version": who.version, "weights": who.weights},
            "notice": NOTICE,
        }

    def _timed(self, jobs: list[Job]) -> list[Result]:
        self.metrics.batches.observe(len(jobs))
        with self.metrics.model_seconds.time():
            return self._work(jobs)

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


def _why(answers: list[Answer]) -> str:
    first: str = answers[0].line["error"]
    return first if len(answers) == 1 else f"None of the {len(answers)} files can be used. The first: {first}"
