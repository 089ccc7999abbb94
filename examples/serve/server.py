"""A web server that finds objects in uploaded images, over one exported file. Starts in a second.

    pip install 'detkit[serve]'
    python examples/serve/server.py best.onnx --port 8000

    curl localhost:8000/health
    curl localhost:8000/metadata
    curl -F images=@photo.jpg localhost:8000/predict
    curl -F images=@a.jpg -F images=@b.png 'localhost:8000/predict?conf=0.4'

MODEL is anything that `detkit.load` opens: an ONNX, OpenVINO or TensorRT file, a checkpoint. All
requests share its one session: the images of one are decoded while another's are in the engine, the
others wait. Interactive documentation of the interface is at /docs. It speaks plain HTTP to whoever
can reach the port, so put it behind a proxy that knows your users.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Query, UploadFile
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import detkit
from detkit.core.errors import DataError, UsageError
from detkit.data.image import Pixels, read_image

MEGABYTE = 1_000_000
REQUESTS_AT_WORK = 2  # whose decoded images are in memory: one in the engine, one decoding
Share = Annotated[float | None, Query(ge=0, le=1)]


class Metadata(BaseModel):
    """What is served."""

    model: str
    digest: str
    engine: str
    precision: str
    classes: list[str]
    image_size: tuple[int, int]  # height, width
    licence: str
    detkit: str


class Detection(BaseModel):
    """One object; the box is left, top, right, bottom in pixels of the upright image."""

    class_name: str
    class_id: int
    score: float
    box_xyxy: list[float]


class Image(BaseModel):
    """One uploaded image and what was found in it, best first."""

    name: str
    width: int
    height: int
    detections: list[Detection]


class Answer(BaseModel):
    """The images in their order; `ms` is preprocessing, inference and NMS of all of them."""

    images: list[Image]
    ms: float


@dataclass(frozen=True)
class Limits:
    """What one request may hold: images, megapixels of each, and bytes as they are sent."""

    images: int
    megapixels: float
    bytes: int

    def read(self, file: UploadFile) -> Pixels:
        """An upload's pixels.

        Raises:
            DataError: it is no image that detkit reads, or too large.
        """
        name = file.filename or "image"
        return read_image(file.file.read(), name=name, limit_megapixels=self.megapixels)


class LimitedBody:
    """Answers 413 to requests of more than `most_bytes`, whether they state their length or not."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self.app, self.most_bytes = app, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = Headers(scope=scope).get("content-length", "") if scope["type"] == "http" else ""
        num_read = 0

        def check(num_bytes: int) -> None:
            """FastAPI makes an answer of the exception."""
            if num_bytes > self.most_bytes:
                raise HTTPException(413, f"more than {self.most_bytes} bytes in one request")

        async def counted() -> Message:
            nonlocal num_read
            check(int(length) if length.isdigit() else 0)
            message = await receive()
            num_read += len(message.get("body", b""))
            check(num_read)
            return message

        await self.app(scope, counted, send)


def make_app(model: detkit.Model, limits: Limits) -> FastAPI:
    """The server of one model."""
    app = FastAPI(title=f"detkit: {model.path.name}", version=detkit.__version__)
    app.add_middleware(LimitedBody, most_bytes=limits.bytes)
    room = threading.BoundedSemaphore(REQUESTS_AT_WORK)
    turn = threading.Lock()  # not every engine may run two batches of one session at once
    metadata = metadata_of(model)

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Answers however many wait; the model was loaded and tried before the port opened."""
        return {"status": "ok"}

    @app.get("/metadata")
    async def describe() -> Metadata:
        """What is served."""
        return metadata

    @app.post("/predict")
    def predict(images: list[UploadFile], conf: Share = None, iou: Share = None) -> Answer:
        """Finds objects in each part `images` of the form; run as one batch."""
        if len(images) > limits.images:
            raise HTTPException(413, f"{len(images)} images: at most {limits.images} a request")
        try:
            with room:
                pixels = list(map(limits.read, images))
                with turn:
                    began = time.perf_counter()
                    found = model.predict(pixels, conf=conf, iou=iou, batch=len(pixels))
                    seconds = time.perf_counter() - began
        except (DataError, UsageError) as error:
            raise HTTPException(422, str(error)) from error
        names = [image.filename or "" for image in images]
        return Answer(images=list(map(answered, names, found)), ms=round(1e3 * seconds, 3))

    return app


def metadata_of(model: detkit.Model) -> Metadata:
    """Other tools' files have neither a digest nor a licence that detkit knows."""
    facts = model.facts
    return Metadata(
        model=model.path.name,
        digest=getattr(facts, "digest", ""),
        engine=model.engine,
        precision=facts.precision,
        classes=list(model.classes),
        image_size=model.image_size,
        licence=getattr(facts, "licence", ""),
        detkit=detkit.__version__,
    )


def answered(name: str, found: detkit.Result) -> Image:
    """What was found in one image, as it is sent."""
    height, width = found.image.shape[:2]
    detections = [
        Detection(
            class_name=class_name,
            class_id=int(class_id),
            score=round(score, 5),
            box_xyxy=[round(float(side), 2) for side in box],
        )
        for (box, score, class_name), class_id in zip(found, found.classes, strict=True)
    ]
    return Image(name=name, width=width, height=height, detections=detections)


def tried(model: detkit.Model) -> detkit.Model:
    """The model after one gray image, so that what is wrong with it shows before it is served."""
    model.predict(np.full((*model.image_size, 3), 114, np.uint8))
    return model


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: every network")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="of the engine; 0: its own choice")
    parser.add_argument("--engine", default="", help="else the one that the file is for")
    parser.add_argument("--outputs", help="of another tool's file: preset or JSON file")
    parser.add_argument("--max-images", type=int, default=16, help="of a request")
    parser.add_argument("--max-megapixels", type=float, default=25, help="of an image")
    parser.add_argument("--max-megabytes", type=float, default=32, help="of a request")
    parser.add_argument("--max-connections", type=int, default=64, help="at once; else 503")
    asked = parser.parse_args(args)
    try:
        model = tried(
            detkit.load(
                asked.model,
                device=asked.device,
                threads=asked.threads,
                engine=asked.engine,
                outputs=asked.outputs,
            )
        )
    except detkit.DetkitError as error:
        sys.exit(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else ""))
    most_bytes = int(asked.max_megabytes * MEGABYTE)
    app = make_app(model, Limits(asked.max_images, asked.max_megapixels, most_bytes))
    uvicorn.run(app, host=asked.host, port=asked.port, limit_concurrency=asked.max_connections)


if __name__ == "__main__":
    main()
