"""examples/serve/server.py in its own process, asked over HTTP by a client of another package."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import detkit
from detkit.artifact.artifact import read_manifest
from detkit.engines.exporting import ExportOptions
from detkit.engines.onnxruntime.export import export

SCRIPT = Path(__file__).parents[2] / "examples" / "serve" / "server.py"
MOST_BYTES = 200_000


@pytest.fixture(scope="module")
def model(settled: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("serve") / "m.onnx"
    export(settled(), path, ExportOptions())
    return path


@contextlib.contextmanager
def serving(*args: str | Path) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    """A client of a server on a port of its own."""
    command = [sys.executable, SCRIPT, *args, "--port", "0", "--threads", "1"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"running on (http://\S+)", line):
                break
        assert found, "".join(lines)
        with httpx.Client(base_url=found[1], timeout=60) as client:
            yield client, process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def client(model: Path) -> Iterator[httpx.Client]:
    limits = ("--max-images", "3", "--max-megapixels", "0.1", "--max-megabytes", "0.2")
    with serving(model, *limits) as (client, _):
        yield client


def uploads(*paths: Path) -> Any:
    return [("images", (path.name, path.read_bytes())) for path in paths]


def boxes_of(image: dict[str, Any]) -> list[list[float]]:
    return [detection["box_xyxy"] for detection in image["detections"]]


def test_it_says_that_it_works_and_what_it_serves(client: httpx.Client, model: Path) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    found, manifest = client.get("/metadata").json(), read_manifest(model)
    assert found["digest"] == manifest.digest
    assert tuple(found["classes"]) == manifest.class_names
    assert found["image_size"] == [64, 64]
    assert (found["engine"], found["precision"]) == ("onnxruntime", "fp32")
    assert "/predict" in client.get("/openapi.json").json()["paths"]


def test_one_and_many_images_get_what_python_finds(
    client: httpx.Client, model: Path, cell_folder: Path
) -> None:
    paths = sorted((cell_folder / "images").rglob("*.png"))[:3]
    opened = detkit.load(model, threads=1)
    wanted = opened.predict(list(paths), conf=0.3)
    answer = client.post("/predict", files=uploads(*paths), params={"conf": 0.3})
    assert answer.status_code == 200
    images = answer.json()["images"]
    assert [image["name"] for image in images] == [path.name for path in paths]
    assert sum(map(len, wanted)) > 3
    for image, result in zip(images, wanted, strict=True):
        assert (image["height"], image["width"]) == result.image.shape[:2]
        assert [found["class_name"] for found in image["detections"]] == list(result.names)
        assert np.allclose(boxes_of(image), result.boxes_xyxy, atol=0.01)
        (alone,) = client.post(
            "/predict", files=uploads(paths[images.index(image)]), params={"conf": 0.3}
        ).json()["images"]
        assert np.allclose(boxes_of(alone), boxes_of(image), atol=0.01)


def test_many_clients_at_once_each_get_their_own(client: httpx.Client, cell_folder: Path) -> None:
    paths = sorted((cell_folder / "images").rglob("*.png"))[:4] * 4

    def found(path: Path) -> Any:
        (image,) = client.post("/predict", files=uploads(path)).json()["images"]
        return image["name"], boxes_of(image)

    one_by_one = list(map(found, paths))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(found, paths)) == one_by_one


@pytest.mark.parametrize(
    ("size", "count", "code", "message"),
    [
        ((32, 32), 4, 413, "4 images: at most 3 a request"),
        ((400, 300), 1, 422, "0.png: 400x300 is more than 0.1 megapixels"),
        (None, 1, 422, "0.png: not an image"),
    ],
)
def test_it_refuses_what_is_too_much_or_no_image(
    client: httpx.Client,
    tmp_path: Path,
    size: tuple[int, int] | None,
    count: int,
    code: int,
    message: str,
) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(count)]
    for path in paths:
        if size:
            Image.new("RGB", size).save(path)
        else:
            path.write_text("hello")
    answer = client.post("/predict", files=uploads(*paths))
    assert answer.status_code == code
    assert message in answer.json()["detail"]


@pytest.mark.parametrize("stated", [True, False])
def test_a_large_request_is_refused_whether_or_not_it_states_its_length(
    client: httpx.Client, stated: bool
) -> None:
    upload = [("images", ("a.png", bytes(MOST_BYTES)))]
    request = httpx.Request("POST", client.base_url.join("/predict"), files=upload)
    body = request.read()
    headers = {"content-type": request.headers["content-type"]}
    answer = client.post("/predict", content=body if stated else iter([body]), headers=headers)
    assert answer.status_code == 413
    assert answer.json()["detail"] == f"more than {MOST_BYTES} bytes in one request"


@pytest.mark.parametrize("query", ["conf=2", "iou=-1", "conf=much"])
def test_thresholds_are_held_to_their_range(
    client: httpx.Client, cell_folder: Path, query: str
) -> None:
    path = next((cell_folder / "images").rglob("*.png"))
    answer = client.post(f"/predict?{query}", files=uploads(path))
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", query.split("=")[0]]
    assert client.post("/predict").status_code == 422


@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_what_cannot_be_served_ends_before_a_port_is_open(
    model: Path, tmp_path: Path, fault: str
) -> None:
    path = tmp_path / "m.onnx"
    if fault == "damaged":
        path.write_bytes(model.read_bytes()[:-100])
    done = subprocess.run([sys.executable, SCRIPT, path], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert str(path) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_an_error_and_sigterm_ends_it(model: Path) -> None:
    with serving(model) as (client, process):
        port = str(client.base_url.port)
        done = subprocess.run(
            [sys.executable, SCRIPT, model, "--port", port], capture_output=True, text=True
        )
        assert done.returncode != 0
        assert "address already in use" in done.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) in (0, -signal.SIGTERM)
