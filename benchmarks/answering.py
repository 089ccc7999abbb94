"""A process that measures what is asked for line by line: both halves of `training.py`.

Standard library alone, since the peer's Python runs it, too.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping

ROUNDS = 2
ANSWER = "images/s "


def answer_lines(makers: Mapping[str, Callable[..., Callable[[], int]]]) -> None:
    """Answers each line of standard input, `WHAT WORD ...`, with `images/s N`.

    Args:
        makers: what makes the function to be timed of the words; numbers among them are int. The
            function returns how many images it saw.
    """
    for line in sys.stdin:
        what, *words = line.split()
        run = makers[what](*(int(word) if word.isdigit() else word for word in words))
        began = time.perf_counter()
        images = sum(run() for _ in range(ROUNDS))
        print(f"{ANSWER}{images / (time.perf_counter() - began)}", flush=True)
