"""Rows of a benchmark as they come, and the record of them with the machine they are from."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from detkit.engines import engine_packages
from detkit.machine.fingerprint import fingerprint

Row = dict[str, Any]


def add_out_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--out`, the file of the record."""
    parser.add_argument("-o", "--out", type=Path, default=None)


def show_rows(
    rows: Iterable[Row],
    what: str,
    out: Path | None,
    *,
    earlier: Sequence[Row] = (),
    **facts: object,
) -> list[Row]:
    """Prints each row when it is measured, and writes all of them where a file is named.

    Args:
        what: the measurement's name in the record.
        earlier: rows of the record that stay but where the same attack was measured again.
        facts: what else the record says.
    """
    shown: list[Row] = []
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        shown.append(row)
    if out:
        newer = {row["attack"]: row for row in shown} if earlier else {}
        record = {
            "what": what,
            "date": time.strftime("%Y-%m-%d"),
            "machine": fingerprint(engine_packages()),
            **facts,
            "rows": [newer.get(row["attack"], row) for row in earlier] or shown,
        }
        out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return shown
