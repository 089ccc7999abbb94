"""What only time or company shows: a thousand steps of training, and two of a verb at once."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from attacks.disk import verbs
from attacks.kills import QUIET, TRAIN, fresh
from attacks.process import Ended, Started, Tally, run_verb

STEPS_PER_EPOCH = 8  # 16 images in batches of 2
MAY_GROW = 0.03  # of the memory, between the second and the last fifth of the steps
PAGE = os.sysconf("SC_PAGE_SIZE")
TOGETHER = ("train", "search", "quantize", "export", "data synth", "data label", "predict")


@dataclass(frozen=True)
class _Sample:
    """What a process holds at a moment."""

    rss: int  # bytes
    descriptors: int


def watch_training(data: Path, work: Path, *, steps: int) -> Tally:
    """Trains so many steps, and watches memory and open descriptors of the process.

    One try: it holds where the memory of the last fifth is that of the second, to 3 %, and no
    descriptors are opened between the two.
    """
    tally = Tally(f"memory and descriptors over {steps} training steps")
    epochs = max(1, steps // STEPS_PER_EPOCH)
    words = [word if word != "8" else "2" for word in TRAIN]
    args = ["train", str(data), *words, *QUIET, "--set", "workers=0", "--epochs", str(epochs)]
    started = Started([*args, "--patience", str(epochs), "-o", "out"], fresh(work / "long"))
    samples = []
    while os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        samples.append(_sample(started.pid))
        time.sleep(0.2)
    ended = started.wait()
    if ended.code:
        tally.add(f"exit {ended.code}: {ended.stderr[-300:]}")
        return tally
    fifth = max(1, len(samples) // 5)
    early, late = samples[fifth : 2 * fifth], samples[-fifth:]
    was, now = (statistics.median(s.rss for s in part) for part in (early, late))
    opened = min(s.descriptors for s in late) - max(s.descriptors for s in early)
    grown = now > was * (1 + MAY_GROW) or opened > 0
    tally.add(f"{was / 2**20:.0f} -> {now / 2**20:.0f} MiB, {opened} descriptors" if grown else "")
    tally.notes = {"MiB early": round(was / 2**20), "MiB late": round(now / 2**20)}
    return tally


def run_together(prepared: Path, work: Path, *, times: int, only: str = "") -> Iterator[Tally]:
    """Runs two of each verb at once with one output: one error at most, and a whole result."""
    for name, args in verbs(prepared).items():
        if name in TOGETHER and only in ("", name):
            yield _two_of(name, args, work / name.replace(" ", "-"), times)


def _two_of(name: str, args: list[str], work: Path, times: int) -> Tally:
    tally = Tally(f"two at once: {name}")
    for _ in range(times):
        folder = fresh(work)
        others = [folder.parent / f"{folder.name}-{n}" for n in (1, 2)]
        # Streams apart, the output shared.
        started = [Started(_shared(args, folder), fresh(other)) for other in others]
        ended = [one.wait() for one in started]
        tally.add(_failure(name, ended, folder))
    return tally


def _shared(args: list[str], folder: Path) -> list[str]:
    """The same command with its output in `folder`."""
    where = args.index("-o") + 1
    return [*args[:where], str(folder / args[where]), *args[where + 1 :]]


def _failure(name: str, ended: list[Ended], folder: Path) -> str:
    for one in ended:
        if one.code and not one.is_clean_error:
            return f"exit {one.code}: {one.stderr[-300:]}"
    if all(one.code for one in ended):
        return f"both refused: {ended[0].stderr[-200:]}"
    made = next(folder.iterdir())
    for path in made.rglob("*.safetensors") if made.is_dir() else [made]:
        if path.suffix in (".safetensors", ".onnx") and path.parent.name != "state":
            info = run_verb(["info", str(path)], folder)
            if info.code:
                return f"{name}: {path.name} is damaged: {info.stderr[-200:]}"
    return ""


def _sample(pid: int) -> _Sample:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return _Sample(pages * PAGE, sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()))
