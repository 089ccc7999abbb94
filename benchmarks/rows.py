"""Rows of a benchmark as they come, and the record of them with the machine they are from."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from detkit.engines import engine_packages
from detkit.machine.fingerprint import fingerprint

Row = dict[str, Any]


def add_out_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--out`, the file of the record."""
    parser.add_argument("-o", "--out", type=Path, default=None)


def show_rows(rows: Iterable[Row], what: str, out: Path | None, **facts: object) -> None:
    """Prints each row when it is measured, and writes all of them where a file is named.

    Args:
        what: the measurement's name in the record.
        facts: what else the record says.
    """
    shown: list[Row] = []
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        shown.append(row)
    if out:
        record = {
            "what": what,
            "date": time.strftime("%Y-%m-%d"),
            "machine": fingerprint(engine_packages()),
            **facts,
            "rows": shown,
        }
        out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
