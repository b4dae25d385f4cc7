"""Tables and plot of the attribution benchmark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import attribution_models as models
import matplotlib.pyplot as plt
from attribution_attacks import ATTACKS
from attribution_parts import OPEN
from attribution_pictures import HANDLED
from attribution_rows import STEM, Outcome, Row, Rows, outcome, write_rows
from setting import machine, table

plt.switch_backend("agg")

PAPER = "97.62 %"  # closed set, as published


def report(rows: Rows, out: Path) -> None:
    """Write the rows as JSON, as tables, and as a plot."""
    out.mkdir(parents=True, exist_ok=True)
    write_rows(rows, out)
    parts = (
        _introduction(),
        _closed(rows),
        _handled(rows),
        _adversarial(rows),
        _open(rows),
    )
    (out / f"{STEM}.md").write_text("\n\n".join(part for part in parts if part) + "\n")
    plot(rows, out / f"{STEM}.png")


def _introduction() -> str:
    listed = ", ".join(models.CANDIDATES)
    return (
        "# Attribution: the seed paper's experiment\n\n"
        f"Which of {len(models.CANDIDATES)} face generators made a picture? 3 x 32 x 32; "
        f"candidates {listed}; `{models.HELD_OUT}` is held out for the open set. `gan` is a small "
        "DCGAN trained on outputs of the face DCGAN of `gan-face-generate`, averaged over 2 x 2 "
        "pixels; `fine-tuned` is a copy of it, trained on with its own outputs and photos of "
        "faces; `reseeded` is the same network from another seed, `narrow` has smaller widths and "
        "latent, `vae` is a VAE's decoder. They were trained for a few minutes of CPU each, so "
        "their faces are poor ones, and smaller than the paper's.\n\n"
        "Ours: the search of `deny`, at most 4 restarts in each model, all models in turns; a "
        "picture that a model reaches gets no more. The model with the smallest residual has it; "
        "where two are equal it is `several`, which counts as wrong. The paper's: Adam, learning "
        "rate 0.1, betas (0, 0.99), 3 x 500 steps in each model from prior draws, on the pixels; "
        "the smallest loss has it. Pictures and restarts run as a batch, which changes no "
        f"latent's steps. {machine('cpu')}."
    )


def _closed(rows: Rows) -> str:
    row = rows.get(("closed", "unchanged"))
    if row is None:
        return ""
    lines = []
    first = len(row.theirs)
    for name, found in (
        ("**ours**", outcome(row.ours, row.truth)),
        (f"ours, the first {first}", outcome(row.ours[:first], row.truth)),
        (f"the paper's, the first {first}", outcome(row.theirs, row.truth)),
    ):
        if found.count:
            lines.append((name, found, f"{found.share:.2%}", found.interval()))
    errors = _confused(row)
    return (
        "## Closed set, pictures as the models give them\n\n"
        + table(("method", "right", "accuracy", "95 % interval, %"), lines)
        + f"\n\nPublished by the paper, on other and larger generators: {PAPER}. Pictures are "
        "random draws in a fixed order, so the first ones are a random subset. "
        f"CPU seconds per picture, all models: ours {_per_picture(row.seconds_ours, row.ours)}, "
        f"the paper's {_per_picture(row.seconds_theirs, row.theirs)}.{errors}" + _medians(row)
    )


def _per_picture(seconds: float, found: Sequence[object]) -> str:
    return f"{seconds / len(found):.2f}" if found else "not run"


def _confused(row: Row) -> str:
    """Say which models the paper's algorithm took for which, and ours."""
    names = models.CANDIDATES
    texts = []
    for method, residuals in (("Ours", row.ours), ("The paper's", row.theirs)):
        wrong = Counter(
            f"{names[truth]} for {names[found.index(min(found))]}"
            for found, truth in zip(residuals, row.truth, strict=False)
            if found.index(min(found)) != truth
        )
        if wrong:
            listed = ", ".join(f"{count} x {text}" for text, count in wrong.most_common())
            texts.append(f" {method} took {listed}.")
    return "".join(texts)


def _medians(row: Row) -> str:
    """Tabulate the median residual in the true model and in the nearest other one."""
    lines = []
    for number, name in enumerate(models.CANDIDATES):
        cells = [name]
        for residuals in (row.ours, row.theirs):
            mine = [
                (found[number], min(v for i, v in enumerate(found) if i != number))
                for found, truth in zip(residuals, row.truth, strict=False)
                if truth == number
            ]
            cells += [f"{sorted(v)[len(v) // 2]:.1e}" for v in zip(*mine, strict=True)]
        lines.append(cells)
    heads = ["made by", "ours: true model", "nearest other"]
    if row.theirs:
        heads += ["the paper's: true model", "nearest other"]
    return (
        "\n\nMedian residuals, mean squared, pixels on [-1, 1]; ours is measured to the cell of "
        "the rounded pixels, the paper's to the pixels.\n\n" + table(heads, lines)
    )


def _compared(rows: Iterable[Row]) -> str:
    """Say in how many rows ours is better, equal and worse."""
    better, equal, worse = [], [], []
    for row in rows:
        if not row.theirs:
            continue
        one, other = _on_both(row)
        group = better if one.right > other.right else worse if one.right < other.right else equal
        group.append((row.name, one))
    perfect = sum(found.right == found.count for _, found in equal)
    lost = ", ".join(name for name, _ in worse)
    return (
        f"Ours is better in {len(better)} rows, equal in {len(equal)} ({perfect} of them without "
        f"an error on either side), worse in {len(worse)}{': ' + lost if lost else ''}."
    )


def _better(row: Row) -> str:
    one, other = _on_both(row)
    if not other.count:
        return ""
    return {1: "ours", 0: "equal", -1: "**the paper's**"}[
        (one.right > other.right) - (one.right < other.right)
    ]


def _on_both(row: Row) -> tuple[Outcome, Outcome]:
    """Return both outcomes on the pictures that both methods were given."""
    both = len(row.theirs)
    return outcome(row.ours[:both], row.truth), outcome(row.theirs, row.truth)


def _handled(rows: Rows) -> str:
    lines, measured = [], []
    for how in HANDLED:
        row = rows.get(("handled", how.name))
        if row is None:
            continue
        measured.append(row)
        one, other = outcome(row.ours, row.truth), outcome(row.theirs, row.truth)
        lines.append(
            (
                how.family,
                how.strength,
                (how.edit or "cell of the file") if how.inside else f"{how.edit}, too weak",
                one,
                other,
                _better(row),
                f"{_per_picture(row.seconds_ours, row.ours)} / "
                f"{_per_picture(row.seconds_theirs, row.theirs)}",
            )
        )
    if not lines:
        return ""
    missing = [how.name for how in HANDLED if ("handled", how.name) not in rows]
    left = f"\n\nNot measured yet: {'; '.join(missing)}." if missing else ""
    heads = ("handling", "strength", "searched as", "ours", "the paper's", "better", "CPU s")
    every = _total(outcome(row.ours, row.truth) for row in measured)
    both = [_on_both(row) for row in measured]
    one, other = (_total(pair[side] for pair in both) for side in (0, 1))
    return (
        "## Closed set, handled pictures\n\n"
        "Ours searches the family of handling that was used, its parameters unknown, as one family "
        'of `handled-quick-v1`; `deny prove` searches all families. "Too weak": the strength '
        "lies outside what the family's search looks for. The paper's compares pixels. Handled by "
        "Pillow and numpy. Families whose parameters are searched leave out the border that a "
        "shift or a rotation may uncover. The paper's was run on the "
        'first pictures only where it has fewer; "better" compares the pictures that both had.'
        "\n\n"
        + table(heads, lines)
        + f"\n\nAll rows together: ours {every}. Of the pictures that both methods had, ours {one} "
        f"({one.share:.1%}), the paper's {other} ({other.share:.1%}). {_compared(measured)}{left}"
    )


def _total(found: Iterable[Outcome]) -> Outcome:
    every = list(found)
    return Outcome(
        sum(one.right for one in every),
        sum(one.several for one in every),
        sum(one.count for one in every),
    )


def _adversarial(rows: Rows) -> str:
    lines, measured = [], []
    for attack in ATTACKS:
        row = rows.get(("adversarial", attack.name))
        if row is None:
            continue
        measured.append(row)
        denied = {name: found.count("excluded") for name, found in row.verdicts.items()}
        lines.append(
            (
                attack.aim,
                attack.method,
                f"{attack.strength}/255",
                outcome(row.ours, row.truth),
                outcome(row.theirs, row.truth),
                _better(row),
                f"{denied['unedited']} of {len(row.truth)}",
                f"{denied['noisy']} of {len(row.truth)}",
            )
        )
    if not lines:
        return ""
    heads = ("against", "method", "ε", "ours", "the paper's", "better", "denied: unedited alone",
             "denied: and noisy")  # fmt: skip
    left = [one.name for one in ATTACKS if ("adversarial", one.name) not in rows]
    missing = f"\n\nNot measured yet: {'; '.join(left)}." if left else ""
    return (
        "## Adversarial pictures\n\n"
        "White box: the attacker knows every model and the true latent (`attribution_attacks.py` "
        "says how). Against the residual, against the attribution (towards the nearest other "
        "model), and against our encoder. The last columns count **false denials**: own pictures "
        "that the calibrated rule calls `excluded` for the model that made them, on two "
        'restarts. "Unedited alone" is the rule of `pristine-quick-v1`: such pictures *are* '
        "denied by it, and its finding says that edited outputs were not examined. Under "
        '`handled-quick-v1` every family has to exclude: "and noisy" counts the pictures that '
        "its families unedited and noisy both exclude, the latter after all its restarts, which "
        "is at least as many as the preset denies.\n\n"
        + table(heads, lines)
        + f"\n\n{_compared(measured)}{missing}"
    )


def _open(rows: Rows) -> str:
    mine = rows.get(("open", "own outputs"))
    lines = []
    for (part, name), row in rows.items():
        if part != "open":
            continue
        answers = Counter(row.verdicts["answer"])
        wrong = _misattributed(row)
        lowest = sorted(min(found) for found in row.theirs)
        losses = f"{lowest[0]:.1e} to {lowest[-1]:.1e}" if lowest else "not run"
        lines.append(
            (
                name,
                len(row.ours),
                answers["attributed"],
                answers["none-of-these"],
                answers["several"],
                answers["inconclusive"],
                wrong,
                _of_theirs(row),
                losses,
            )
        )
    if not lines:
        return ""
    heads = ("pictures", "n", "attributed", "none of these", "several", "inconclusive",
             "errors of ours", "the paper's", "its smallest losses")  # fmt: skip
    said = ""
    if mine is not None and mine.theirs:
        largest = max(min(found) for found in mine.theirs)
        others = [min(f) for (part, name), row in rows.items()
                  if part == "open" and not row.truth for f in row.theirs]  # fmt: skip
        below = sum(value <= largest for value in others)
        said = (
            '\n\nThe paper\'s algorithm has no "none of these": it attributes every picture. A '
            "threshold on its loss that keeps all own outputs above would also take "
            f"{below} of the {len(others)} pictures of no candidate."
        )
    left = [name for name in OPEN if ("open", name) not in rows]
    missing = f"\n\nNot measured yet: {'; '.join(left)}." if left else ""
    return (
        "## Open set, by the calibrated rule\n\n"
        "`pristine-quick-v1` for each model: 99 controls, alpha 0.05, 12 restarts, and the verdict "
        "of `deny attribute`. An error is an answer to the wrong model, or an own output that its "
        "model's rule excludes.\n\n" + table(heads, lines) + said + missing
    )


def _of_theirs(row: Row) -> str:
    if not row.theirs:
        return "not run"
    if row.truth:
        return f"{outcome(row.theirs, row.truth)} right"
    return f"{len(row.theirs)} to some model"


def _misattributed(row: Row) -> int:
    """Count the answers that are wrong; `inconclusive` and `several` are none."""
    wrong = 0
    for index, answer in enumerate(row.verdicts["answer"]):
        judged = row.verdicts["models"][index].split()
        if row.truth:
            wrong += judged[row.truth[index]] == "excluded"
        else:
            wrong += answer in {"attributed", "several"}
    return wrong


def plot(rows: Rows, path: Path) -> None:
    """Draw the accuracy of both methods on every kind of handled picture."""
    shown = [(how, rows["handled", how.name]) for how in HANDLED if ("handled", how.name) in rows]
    if not shown:
        return
    figure, axes = plt.subplots(figsize=(7, 1 + 0.21 * len(shown)), layout="constrained")
    for place, (_, row) in enumerate(shown):
        shares = [100 * outcome(found, row.truth).share for found in (row.ours, row.theirs)]
        axes.plot(shares, [place, place], color="0.8", zorder=1)
        axes.scatter(shares[1], place, color="tab:orange", marker="s", zorder=2)
        axes.scatter(shares[0], place, color="tab:blue", zorder=3)
    axes.scatter([], [], color="tab:blue", label="ours")
    axes.scatter([], [], color="tab:orange", marker="s", label="the paper's algorithm")
    axes.axvline(100 / len(models.CANDIDATES), color="0.6", linestyle=":", label="guessing")
    names = [how.name + ("" if how.inside else " *") for how, _ in shown]
    axes.set_yticks(range(len(shown)), names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlim(0, 102)
    axes.set_xlabel("attributed to the right model, % (* outside the bin that is searched)")
    axes.legend(fontsize=7, loc="lower left")
    figure.savefig(path, dpi=110)
    plt.close(figure)
