"""The seed paper's experiment: which of several face generators made a picture, or none of them.

    python benchmarks/attribution.py                   # everything; what is there is kept
    python benchmarks/attribution.py --parts handled beside --seconds 600

Closed set: the model with the smallest residual, ours beside the paper's own algorithm (Adam on the
pixels, arXiv 2008.09194) on the same pictures, unchanged, handled in many ways, and changed by an
adversary. Open set: real photos and the outputs of a model that is not listed, by the calibrated
rule of `pristine-quick-v1`. Rows are kept between runs, and written as they are measured.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from attribution_attacks import ATTACKS
from attribution_parts import OPEN, Experiment
from attribution_pictures import by_turns
from attribution_report import report
from attribution_rows import STEM, Row, read
from setting import RESULTS

#: `beside` is the paper's algorithm on the pictures of the others.
PARTS = ("closed", "handled", "adversarial", "open", "beside")


def measured(
    options: argparse.Namespace, rows: dict[tuple[str, str], Row], late: Callable[[], bool]
) -> Iterator[Row]:
    """Measure what is missing, part by part; nothing begins when it is late."""
    experiment = Experiment(options.attacked)
    if "closed" in options.parts:
        row = rows.get(("closed", "unchanged"), Row("closed", "unchanged"))
        yield from experiment.closed(row, options.closed, late)
    for part, names in _named().items():
        for name in names if part in options.parts else ():
            if (part, name) in rows or late():
                continue
            if part == "handled":
                yield experiment.handled(name, options.pictures)
            elif part == "adversarial":
                yield experiment.adversarial(name)
            else:
                yield experiment.opened(name, options.open)
    if "beside" in options.parts:
        every = options.compared
        wanted = {"closed": options.beside, "handled": every, "adversarial": every, "open": every}
        waiting = [row for (part, _), row in rows.items() if part in wanted]
        yield from experiment.beside(waiting, wanted, late)


def _named() -> dict[str, list[str]]:
    """Return the names of the rows of each part, in the order in which they are measured."""
    return {
        "handled": [how.name for how in by_turns()],
        "adversarial": [attack.name for attack in ATTACKS],
        "open": list(OPEN),
    }


def main() -> None:
    """Measure, and write the tables after each row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--closed", type=int, default=400, help="pictures of the closed set")
    parser.add_argument("--beside", type=int, default=200, help="... by the paper's loop as well")
    parser.add_argument("--pictures", type=int, default=20, help="of each handling")
    parser.add_argument(
        "--compared", type=int, default=20, help="... attack and source by the paper's loop as well"
    )
    parser.add_argument("--attacked", type=int, default=10, help="pictures of each attack")
    parser.add_argument("--open", type=int, default=20, help="pictures of each open-set source")
    parser.add_argument(
        "--seconds", type=float, default=np.inf, help="nothing begins after so many"
    )
    parser.add_argument("--report", action="store_true", help="write the tables anew, run none")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = options.out / f"{STEM}.json"
    rows = read(path)
    begin = time.monotonic()
    if not options.report:
        for row in measured(options, rows, lambda: time.monotonic() - begin > options.seconds):
            rows[row.part, row.name] = row
            report(rows, options.out)
            print(row.summary(), flush=True)
    report(rows, options.out)


if __name__ == "__main__":
    main()
