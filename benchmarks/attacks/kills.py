"""`kill -9` at drawn moments: what is resumed ends in the same bits, all else leaves nothing half.

Each verb runs once undisturbed. Then it is killed at moments drawn evenly over that time. A verb
that resumes is killed up to three times and resumed to its end, and must give the same tensors,
rows and front; the others are run again over what the kill left and must give the same files.
Nothing may be left beside them.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attacks.process import Tally, files_below, kill_after, run_verb
from detkit.artifact.outputs import is_filled

MOST_KILLS = 3  # of one resumed run
TRAIN = ["--model", "yolo-nas-p", "--init", "none", "--imgsz", "64", "--batch", "8"]
QUIET = ["--threads", "1", "-q"]
OF_A_RUN = (
    "seconds",
    "minutes",
    "per_s",
    "date",
    "command",
    "data_wait",
    "versions",
    "folder",
    "digest",
    "latency",
)


@dataclass(frozen=True, kw_only=True)
class Victim:
    """A verb to kill: how it is begun, how it goes on, and what it is judged by."""

    name: str
    begin: list[str]
    again: list[str]  # after a kill, once it has begun
    result: Callable[[Path], object]
    kills: int  # in a whole campaign: fewer of what takes long
    resumes: bool = False
    folder: str = ""  # which it has begun to fill, where else it is begun anew

    def command(self, where: Path) -> list[str]:
        """The command that goes on from what is there."""
        has_begun = not self.folder or is_filled(where / self.folder)
        return self.again if has_begun else self.begin


def victims(data: Path, checkpoint: Path, voc: Path) -> list[Victim]:
    """The verbs of the campaign on a small folder of images and a small checkpoint."""
    no_workers = ["--set", "workers=0"]
    train = ["train", str(data), *TRAIN, *QUIET, *no_workers, "--epochs", "3", "-o", "out"]
    quantize = ["quantize", str(checkpoint), "--int8", "--qat", "--epochs", "2", *QUIET]
    quantize += ["--data", str(data), "-o", "q.safetensors"]
    search = ["search", "--space", "tiny", "--imgsz", "64", *QUIET, "-o", "out"]
    costs = ["--set", "cost=macs"]
    proxy = [*search, *costs, "--trials", "10", "--set", "classes=3", "--set", "proxy=zen"]
    taught = ["search", str(data), *search[1:], *costs, "--epochs", "1"]
    taught += ["--set", "train.batch=8", "--set", "train.workers=0"]
    trained = [*taught, "--evaluator", "train", "--trials", "3"]
    shared = [*taught, "--evaluator", "supernet", "--trials", "6", "--set", "supernet.epochs=1"]
    resume = ["search", "-o", "out", "--resume", *QUIET]
    export = ["export", "--to", "onnx", str(checkpoint), "-o", "m.onnx", "-q"]
    synth = ["data", "synth", "-o", "out", "--train", "60", "--val", "20", "--test", "0", "-q"]
    convert = ["data", "convert", str(voc), "--from", "voc", "-o", "out", "-q"]
    return [
        Victim(
            name="train",
            begin=train,
            again=["train", "-o", "out", "--resume", *QUIET],
            result=_run_of,
            kills=40,
            resumes=True,
            folder="out",
        ),
        Victim(
            name="quantize --qat",
            begin=quantize,
            again=[*quantize, "--resume"],
            result=lambda folder: _tensors(folder / "q.safetensors"),
            kills=9,
            resumes=True,
        ),
        *(
            Victim(
                name=f"search {name}",
                begin=begin,
                again=resume,
                result=_front,
                kills=times,
                resumes=True,
                folder="out",
            )
            for name, begin, times in (
                ("proxy", proxy, 15),
                ("train", trained, 15),
                ("supernet", shared, 15),
            )
        ),
        *(
            Victim(name=name, begin=begin, again=[*begin, "--force"], result=_files, kills=36)
            for name, begin in (("export", export), ("synth", synth), ("convert", convert))
        ),
    ]


def kill_all(chosen: list[Victim], work: Path, *, scale: float, seed: int) -> Iterator[Tally]:
    """Kills each victim as often as it says, times `scale`."""
    for victim in chosen:
        folder, kills = work / victim.name.replace(" ", "-"), max(1, round(scale * victim.kills))
        yield _kill(victim, folder, kills, random.Random(seed))


def _kill(victim: Victim, work: Path, kills: int, draw: random.Random) -> Tally:
    tally = Tally(f"kill -9: {victim.name}")
    undisturbed = fresh(work / "undisturbed")
    ended = run_verb(victim.begin, undisturbed)
    if ended.code:
        tally.add(f"it does not run at all: {ended.stderr[-300:]}")
        return tally
    wanted, names = victim.result(undisturbed), _names(undisturbed)
    while tally.tried < kills:
        folder = fresh(work / "killed")
        failure, killed = _killed_run(victim, folder, ended.seconds, draw, kills - tally.tried)
        if not failure and victim.result(folder) != wanted:
            failure = "another result"
        if not failure and (left := _names(folder) - names):
            failure = f"left behind: {sorted(left)[:3]}"
        tally.add(failure)
        for _ in range(killed - 1):
            tally.add()
    return tally


def _killed_run(
    victim: Victim, folder: Path, seconds: float, draw: random.Random, most: int
) -> tuple[str, int]:
    """Kills a run and brings it to its end; gives what failed and the number of kills."""
    times = draw.randint(1, min(MOST_KILLS, most)) if victim.resumes else 1
    args, killed = victim.begin, 0
    for _ in range(times):
        ended = kill_after(args, folder, draw.uniform(0, seconds))
        killed += 1
        if ended.code not in (-9, 0):
            return f"exit {ended.code} before the kill: {ended.stderr[-200:]}", killed
        args = victim.command(folder)
    ended = run_verb(args, folder)
    return (f"exit {ended.code} after: {ended.stderr[-300:]}" if ended.code else ""), killed


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in files_below(folder)}


# --- what runs are judged by ----------------------------------------------------------------------


def _run_of(folder: Path) -> object:
    """The tensors of both checkpoints of a training, and its figures epoch by epoch."""
    rows = [_figures(row) for row in _json_lines(folder / "out" / "metrics.jsonl")]
    names = ("last.safetensors", "best.safetensors")
    return rows, [_tensors(folder / "out" / name) for name in names]


def _tensors(path: Path) -> dict[str, bytes]:
    from safetensors.numpy import load_file

    return {name: tensor.tobytes() for name, tensor in load_file(path).items()}


def _front(folder: Path) -> object:
    """The networks of a search's front and their figures."""
    front = json.loads((folder / "out" / "pareto.json").read_text("utf-8"))
    return [_figures(point) for point in front]


def _files(folder: Path) -> object:
    """The bytes of all files; of an ONNX file the graph, as its metadata holds the command."""
    found: dict[str, object] = {}
    for path in files_below(folder):
        if path.suffix == ".onnx":
            import onnx

            found[path.name] = onnx.load(path).graph.SerializeToString(deterministic=True)
        else:
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def _figures(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what a clock or a folder's name said."""
    return {k: v for k, v in row.items() if not any(part in k for part in OF_A_RUN)}


def _json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
