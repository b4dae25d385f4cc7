"""The seed paper's experiment: which of several face generators made a picture, or none of them.

    python benchmarks/attribution.py                   # everything; what is there is kept
    python benchmarks/attribution.py --parts handled --pictures 40 --seconds 600

Closed set: the model with the smallest residual, ours beside the paper's own algorithm (Adam on the
pixels, arXiv 2008.09194) on the same pictures, unchanged, handled in many ways, and changed by an
adversary. Open set: real photos and the outputs of a model that is not listed, by the calibrated
rule of `pristine-quick-v1`. Rows are kept between runs, and written as they are measured.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import attribution_models as models
import numpy as np
import torch
from attribution_attacks import ATTACKS
from attribution_pictures import HANDLED, Drawn, by_turns, drawn
from attribution_report import report
from attribution_rows import STEM, Row, read
from attribution_rule import judge, kind_of, open_set, searched
from attribution_search import Scores, ours, pixel_handling, theirs
from setting import RESULTS, Setting, load_setting, setting_of

from deniability.generators.load import load_generator
from deniability.imaging.handling import Pixels
from deniability.imaging.observation import build_handling
from deniability.wire.protocol import preset

PROTOCOL = preset("pristine-quick-v1")
PARTS = ("closed", "handled", "adversarial", "open", "full")
_FULL_OUTPUTS = (20_000, 4_096)  # that the encoders of the two large models are trained on
_BLOCK = 50  # pictures of the closed set between two writes


def settings() -> list[Setting]:
    """Load the candidates with their encoders; train what is missing."""
    return [
        setting_of(
            f"attribution-{name}",
            load_generator(models.fetch(name), device=torch.device("cpu")),
            PROTOCOL,
        )
        for name in models.CANDIDATES
    ]


def numbers(scores: Scores) -> list[list[float]]:
    """Return residuals as they are stored: three digits."""
    return [[float(f"{value:.2e}") for value in row] for row in scores.residuals.tolist()]


def closed(candidates: list[Setting], row: Row, count: int, beside: int) -> Iterator[Row]:
    """Go on with the closed set up to `count` pictures, `beside` of them by the paper's loop."""
    for start in range(len(row.truth), count, _BLOCK):
        own = drawn(candidates, "attribution-closed", start, min(count, start + _BLOCK))
        handling = pixel_handling(candidates[0])
        found = ours(
            candidates, handling, handling.observations(own.pixels), f"attribution-closed-{start}"
        )
        row = row.joined(truth=own.truth, ours=numbers(found), seconds_ours=found.seconds)
        yield row
    while len(row.theirs) < min(count, beside):
        start = len(row.theirs)
        own = drawn(candidates, "attribution-closed", start, min(count, beside, start + _BLOCK))
        other = theirs(candidates, own.pixels, f"attribution-closed-{start}")
        row = row.joined(theirs=numbers(other), seconds_theirs=other.seconds)
        yield row


def full(row: Row, count: int) -> Iterator[Row]:
    """Attribute pictures of the face DCGAN itself and a fine-tuned copy, two at a time."""
    tuned = load_generator(models.fetch_tuned_dcgan(), device=torch.device("cpu"))
    protocol = PROTOCOL.model_copy(update={"encoder_outputs": _FULL_OUTPUTS[1]})
    pair = [
        load_setting(models.FULL_SIZE[0], _FULL_OUTPUTS[0]),
        setting_of(f"attribution-{models.FULL_SIZE[1]}", tuned, protocol),
    ]
    for start in range(len(row.truth), count, 2):
        own = drawn(pair, "attribution-full", start, start + 2)
        handling = pixel_handling(pair[0])
        role = f"attribution-full-{start}"
        found = ours(pair, handling, handling.observations(own.pixels), role)
        other = theirs(pair, own.pixels, role)
        row = row.joined(
            truth=own.truth,
            ours=numbers(found),
            theirs=numbers(other),
            seconds_ours=found.seconds,
            seconds_theirs=other.seconds,
        )
        yield row


def handled(candidates: list[Setting], name: str, start: int, stop: int, beside: int) -> Row:
    """Attribute pictures handled in one way, the first `beside` by the paper's loop as well."""
    how = next(one for one in HANDLED if one.name == name)
    own = drawn(candidates, f"attribution {name}", start, stop)
    handling, observations, looks = how.observed(candidates[0], own.pixels)
    role = f"attribution {name} {start}"
    found = ours(candidates, handling, observations, role)
    other = theirs(candidates, looks[: max(0, beside - start)], role)
    return Row(
        part="handled",
        name=name,
        truth=own.truth,
        ours=numbers(found),
        theirs=numbers(other),
        seconds_ours=found.seconds,
        seconds_theirs=other.seconds,
    )


def adversarial(
    candidates: list[Setting], name: str, own: Drawn, before: Scores, beside: int
) -> Row:
    """Attribute pictures that an adversary changed, and judge the true model by the rule."""
    attack = next(one for one in ATTACKS if one.name == name)
    pixels = attack.run(candidates, own, before)
    role = f"attribution {name}"
    handling = build_handling(kind_of(candidates[0], None))
    found = ours(candidates, handling, pixel_handling(candidates[0]).observations(pixels), role)
    other = theirs(candidates, pixels[:beside], role)
    verdicts: dict[str, list[str]] = {"unedited": [], "noisy": []}
    for row, truth in enumerate(own.truth):
        residual = float(found.residuals[row, truth])
        for edit in (None, "noisy"):
            verdict = judge(candidates[truth], edit, residual)
            if verdict == "excluded" and edit is not None:
                # Fewer restarts than the preset's were run until now.
                again = searched(
                    candidates[truth], edit, pixels[row : row + 1], role, 2 * PROTOCOL.restarts
                )
                verdict = judge(candidates[truth], edit, min(residual, *again))
            verdicts[edit or "unedited"].append(verdict)
    return Row(
        part="adversarial",
        name=name,
        truth=own.truth,
        ours=numbers(found),
        theirs=numbers(other),
        seconds_ours=found.seconds,
        seconds_theirs=other.seconds,
        verdicts=verdicts,
    )


def strangers(name: str, count: int) -> Pixels:
    """Return pictures of no candidate: photos, or outputs of the model that is held out."""
    if name == "held-out model":
        generator = load_generator(models.fetch(models.HELD_OUT), device=torch.device("cpu"))
        latents = torch.randn(
            count, generator.dimension, generator=torch.Generator().manual_seed(77)
        )
        with torch.no_grad():
            made: Pixels = generator.quantise(generator(latents)).numpy()
        return made
    first = {"photos of faces": models.TRAINED_ON, "photos without a face": 100}[name]
    crops = models.photos()[first : first + min(count, models.TRAINED_ON)]
    return (crops * 255).round().to(torch.uint8).numpy()


OPEN = ("own outputs", "photos of faces", "photos without a face", "held-out model")


def opened(candidates: list[Setting], name: str, count: int) -> Row:
    """Judge pictures by the calibrated rule, beside the paper's smallest losses."""
    truth: list[int] = []
    if name == "own outputs":
        own = drawn(candidates, "attribution-open", 0, count)
        pixels, truth = own.pixels, own.truth
    else:
        pixels = strangers(name, count)
    begin = time.process_time()
    residuals, verdicts, answers = open_set(candidates, pixels, f"attribution {name}")
    spent = time.process_time() - begin
    other = theirs(candidates, pixels, f"attribution {name}")
    return Row(
        part="open",
        name=name,
        truth=truth,
        ours=[[float(f"{value:.2e}") for value in row] for row in residuals],
        theirs=numbers(other),
        seconds_ours=spent,
        seconds_theirs=other.seconds,
        verdicts={"answer": list(answers), "models": [" ".join(row) for row in verdicts]},
    )


def missing_handled(
    candidates: list[Setting], rows: dict[tuple[str, str], Row], count: int, beside: int
) -> Iterator[Row]:
    """Go on with every handling up to `count` pictures, `beside` of them by the paper's loop."""
    for how in by_turns():
        kept = rows.get(("handled", how.name), Row("handled", how.name))
        if len(kept.truth) < count:
            more = handled(candidates, how.name, len(kept.truth), count, beside)
            yield kept.extended(more)


def missing_adversarial(
    candidates: list[Setting], rows: dict[tuple[str, str], Row], count: int, beside: int
) -> Iterator[Row]:
    """Run the attacks that have no row yet."""
    missing = [one.name for one in ATTACKS if ("adversarial", one.name) not in rows]
    if not missing:
        return
    own = drawn(candidates, "attribution-adversarial", 0, count)
    handling = pixel_handling(candidates[0])
    before = ours(candidates, handling, handling.observations(own.pixels), "attribution-before")
    for name in missing:
        yield adversarial(candidates, name, own, before, beside)


def measured(options: argparse.Namespace, rows: dict[tuple[str, str], Row]) -> Iterator[Row]:
    """Measure what is missing, part by part."""
    if "full" in options.parts:
        yield from full(rows.get(("full", "unchanged"), Row("full", "unchanged")), options.full)
    if options.parts == ["full"]:
        return
    candidates = settings()
    if "closed" in options.parts:
        row = rows.get(("closed", "unchanged"), Row("closed", "unchanged"))
        yield from closed(candidates, row, options.closed, options.beside)
    if "handled" in options.parts:
        yield from missing_handled(candidates, rows, options.pictures, options.compared)
    if "open" in options.parts:
        for name in OPEN:
            if ("open", name) not in rows:
                yield opened(candidates, name, options.open)
    if "adversarial" in options.parts:
        yield from missing_adversarial(candidates, rows, options.attacked, options.compared)


def main() -> None:
    """Measure, and write the tables after each row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--closed", type=int, default=400, help="pictures of the closed set")
    parser.add_argument("--beside", type=int, default=200, help="... by the paper's loop as well")
    parser.add_argument("--pictures", type=int, default=20, help="of each handling")
    parser.add_argument(
        "--compared", type=int, default=10, help="... and each attack, by the paper's loop as well"
    )
    parser.add_argument("--attacked", type=int, default=10, help="pictures of each attack")
    parser.add_argument("--open", type=int, default=20, help="pictures of each open-set source")
    parser.add_argument("--seconds", type=float, default=np.inf, help="no row begins after so many")
    parser.add_argument("--report", action="store_true", help="write the tables anew, run none")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = options.out / f"{STEM}.json"
    rows = read(path)
    begin = time.monotonic()
    if not options.report:
        for row in measured(options, rows):
            rows[row.part, row.name] = row
            report(rows, options.out)
            print(row.summary(), flush=True)
            if time.monotonic() - begin > options.seconds:
                break
    report(rows, options.out)


if __name__ == "__main__":
    main()
