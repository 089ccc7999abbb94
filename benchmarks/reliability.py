"""The promises of the tool under attack: kills, full disks, damage, hostile and dirty files.

    python benchmarks/reliability.py run WORK [--only kills] [--verb train] [--scale 1.0] [-o FILE]
    python benchmarks/reliability.py table [FILE] [--readme benchmarks/README.md]

Prints a line for each kind of attack as it ends (how often it was tried, how often the promise
held, what went wrong first), then the table of all. Exit 1 where anything went wrong. A scale of 1
is the whole campaign; smaller ones try less often, with the same seeds. With --again a part is
attacked again and its rows in FILE are replaced.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from attacks.damage import flip_all
from attacks.disk import fill_all
from attacks.folders import draw_folders
from attacks.kills import TRAIN, kill_all, victims
from attacks.long import run_together, watch_training
from attacks.pickles import read_gadgets, read_mutated
from attacks.process import Tally, preload, run_verb
from attacks.readers import feed_all
from field_table import TABLE_HELP, row_line, show_table
from rows import Row, show_rows

RESULTS = Path(__file__).parent / "results" / "reliability.json"
MARK = "reliability"
COUNTS = ("tried", "held")
FOLDERS = 1700  # of each of three formats
STEPS = 1000
UNRELIABLE = 5  # the exit code of times on a busy machine
PAIRS = 6  # of each verb
WRITES = 16  # at which the disk is full, of each verb at most
FLIPS = 300  # of each kind of file
PICKLES = 300_000
EXECUTIONS = 100_000  # of each reader


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """Where it works, how much it tries, and the seed of all that is drawn."""

    work: Path
    scale: float
    seed: int
    verb: str = ""  # that is attacked alone where verbs are

    @property
    def prepared(self) -> Path:
        """The folder of what the attacked verbs read; see `prepare`."""
        return self.work / "prepared"

    def times(self, whole: int) -> int:
        return max(1, round(whole * self.scale))


def prepare(folder: Path) -> None:
    """Makes what the verbs need: a data set, also as VOC, a run, and a file of each kind.

    Raises:
        RuntimeError: a verb failed.
    """
    if (folder / "published.pth").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    synth = ["data", "synth", "-o", "data", "--train", "16", "--val", "8", "--test", "8"]
    quick = ["--seconds", "0", "--runs", "10", "-q"]
    space = ["--space", "tiny", "--imgsz", "64", "-q"]
    costs = ["--set", "classes=3", "--set", "cost=macs"]
    train = ["train", "data", *TRAIN, "--epochs", "1", "--threads", "1", "-o", "run"]
    for args in (
        [*synth, "--size", "64", "--force", "-q"],
        [*train, "--set", "workers=0", "--force", "-q"],
        ["reparam", "run/best.safetensors", "-o", "m.safetensors", "--force", "-q"],
        ["export", "--to", "onnx", "m.safetensors", "-o", "m.onnx", "--force", "-q"],
        ["export", "--to", "openvino", "m.safetensors", "-o", "m.xml", "--force", "-q"],
        ["bench", "m.onnx", *quick, "-o", "b.json", "--force"],
        ["profile", *space, "--classes", "3", "--samples", "8", "-o", "p.json", "--force"],
        ["search", *space, *costs, "--trials", "6", "-o", "found", "--force"],
    ):
        ended = run_verb(args, folder)
        if ended.code not in (0, UNRELIABLE):
            raise RuntimeError(f"{' '.join(args)}: {ended.stderr}")
    _write_voc(folder / "data", folder / "voc")
    _write_published(folder / "published.pth")


def _write_voc(data: Path, out: Path) -> None:
    """The training split of a COCO folder as a VOC folder."""
    document = json.loads((data / "annotations" / "instances_train.json").read_text("utf-8"))
    names = {category["id"]: category["name"] for category in document["categories"]}
    (out / "Annotations").mkdir(parents=True, exist_ok=True)
    (out / "JPEGImages").mkdir(exist_ok=True)
    for image in document["images"]:
        name = Path(image["file_name"]).name
        source = next(data.rglob(name))
        (out / "JPEGImages" / name).write_bytes(source.read_bytes())
        parts = [f"<filename>{name}</filename>"]
        for found in document["annotations"]:
            if found["image_id"] == image["id"]:
                x, y, width, height = found["bbox"]
                corners = f"<xmin>{x}</xmin><ymin>{y}</ymin>"
                corners += f"<xmax>{x + width}</xmax><ymax>{y + height}</ymax>"
                name_of = names[found["category_id"]]
                parts.append(f"<object><name>{name_of}</name><bndbox>{corners}</bndbox></object>")
        text = f"<annotation>{''.join(parts)}</annotation>"
        (out / "Annotations" / name).with_suffix(".xml").write_text(text, encoding="utf-8")


def _write_published(path: Path) -> None:
    """Random weights of yolo-nas-s as its first trainer saved them."""
    import torch

    from detkit.nn.checkpoint import new_detector
    from detkit.spec.zoo import ZOO

    torch.save({"net": new_detector(ZOO["yolo-nas-s"], seed=0).state_dict()}, path)


def kills(campaign: Campaign) -> Iterator[Tally]:
    """`kill -9` at drawn moments."""
    where = campaign.prepared
    found = victims(where / "data", where / "m.safetensors", where / "voc")
    chosen = [victim for victim in found if campaign.verb in ("", victim.name)]
    yield from kill_all(chosen, campaign.work / "kills", scale=campaign.scale, seed=campaign.seed)


def disk(campaign: Campaign) -> Iterator[Tally]:
    """A disk that is full from the Nth write on."""
    most = campaign.times(WRITES)
    yield from fill_all(campaign.prepared, campaign.work / "disk", most=most, only=campaign.verb)


def folders(campaign: Campaign) -> Iterator[Tally]:
    """Dirty COCO, YOLO and VOC folders."""
    times = campaign.times(FOLDERS)
    yield from draw_folders(campaign.work / "folders", times=times, first_seed=campaign.seed)


def damage(campaign: Campaign) -> Iterator[Tally]:
    """Flipped bits."""
    times = campaign.times(FLIPS)
    yield from flip_all(
        campaign.prepared, campaign.work / "damage", flips=times, seed=campaign.seed
    )


def pickles(campaign: Campaign) -> Iterator[Tally]:
    """Hostile and damaged pickles."""
    work, times = campaign.work / "pickles", campaign.times(PICKLES)
    yield read_gadgets(work)
    yield read_mutated(work, times=times, seed=campaign.seed)


def readers(campaign: Campaign) -> Iterator[Tally]:
    """Readers of what users and others write, fed with what is almost right."""
    times = campaign.times(EXECUTIONS)
    yield from feed_all(
        campaign.prepared, campaign.work / "readers", times=times, seed=campaign.seed
    )


def steps(campaign: Campaign) -> Iterator[Tally]:
    """Memory and descriptors over a long training."""
    count = campaign.times(STEPS)
    yield watch_training(campaign.prepared / "data", campaign.work / "steps", steps=count)


def together(campaign: Campaign) -> Iterator[Tally]:
    """Two of a verb at once with one output."""
    times = campaign.times(PAIRS)
    yield from run_together(
        campaign.prepared, campaign.work / "together", times=times, only=campaign.verb
    )


PARTS: dict[str, Callable[[Campaign], Iterator[Tally]]] = {
    "kills": kills,
    "disk": disk,
    "damage": damage,
    "pickles": pickles,
    "readers": readers,
    "folders": folders,
    "steps": steps,
    "together": together,
}


def rows(campaign: Campaign, parts: Iterable[str]) -> Iterator[Row]:
    """The table, line by line as it is measured."""
    for part in parts:
        began = time.monotonic()
        for tally in PARTS[part](campaign):
            now = time.monotonic()
            yield {
                "attack": tally.what,
                "tried": tally.tried,
                "held": tally.held,
                "seconds": round(now - began, 1),
                **({"notes": tally.notes} if tally.notes else {}),
                **({"failures": tally.failures} if tally.failures else {}),
            }
            began = now


def table_lines(measured: Iterable[Row]) -> list[str]:
    """The table in Markdown, with the sums below."""
    found = list(measured)
    lines = [row_line(["attack", "tried", "held"]), row_line(["---"] * 3)]
    lines += [row_line([row["attack"], *(f"{row[k]:,}" for k in COUNTS)]) for row in found]
    tried, held = (sum(row[key] for row in found) for key in COUNTS)
    minutes = sum(row["seconds"] for row in found) / 60
    return [*lines, "", f"{held:,} of {tried:,} in {minutes:.0f} minutes."]


def run(args: argparse.Namespace) -> None:
    """Attacks, and prints what held."""
    campaign = Campaign(
        work=args.work.resolve(), scale=args.scale, seed=args.seed, verb=args.verb_alone
    )
    preload()
    prepare(campaign.prepared)
    earlier = json.loads(args.out.read_text("utf-8"))["rows"] if args.again else []
    measured = show_rows(
        rows(campaign, args.only),
        "reliability",
        args.out,
        earlier=earlier,
        scale=args.scale,
        seed=args.seed,
    )
    print("\n".join(table_lines(measured)))
    sys.exit(any(row["held"] < row["tried"] for row in measured))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    campaign = verbs.add_parser("run")
    campaign.add_argument("work", type=Path)
    campaign.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    campaign.add_argument("--scale", type=float, default=1.0)
    campaign.add_argument("--seed", type=int, default=0)
    campaign.add_argument("--verb", dest="verb_alone", default="", help="attack this verb alone")
    campaign.add_argument("-o", "--out", type=Path, default=None)
    campaign.add_argument("--again", action="store_true", help="replace rows of FILE, keep others")
    table = verbs.add_parser("table", help=TABLE_HELP)
    table.add_argument("results", type=Path, nargs="?", default=RESULTS)
    table.add_argument("--readme", type=Path, default=None, help="write it between its marks")
    args = parser.parse_args()
    if args.verb == "run":
        run(args)
        return
    record = json.loads(args.results.read_text(encoding="utf-8"))
    show_table(table_lines(record["rows"]), MARK, args.readme)


if __name__ == "__main__":
    main()
