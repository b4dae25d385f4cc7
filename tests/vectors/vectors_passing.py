"""Bundles that hold: every verdict, family, kind of key and of search."""

from __future__ import annotations

from typing import Any

import vector_parts as v
from vector_cases import add

FLAT = "4.40000e-02"


def holds(name: str, about: str, verdict: str, **options: Any) -> None:
    """Add a bundle that verifies."""
    key = options.pop("key", v.KEY)
    keys = options.pop("keys", (key,))
    stored = options.pop("stored", True)
    change = options.pop("change", None)

    def build() -> bytes:
        statement = v.make(**options)
        if change is not None:
            change(statement["predicate"])
            v.mend(statement)
        assert statement["predicate"]["finding"]["verdict"] == verdict, name
        return v.sign(statement, key)

    add("passing", name, about, build, keys=keys, stored=stored)


def files(*names: str) -> Any:
    """Give the model files of these names, all of the same contents."""

    def change(predicate: dict[str, Any]) -> None:
        predicate["model"]["files"] = [
            {"name": name, "size": 0, "sha256": v.sha("same")} for name in names
        ]

    return change


holds("excluded", "A lossless picture, excluded.", "excluded")
holds(
    "reached-pixel-for-pixel",
    "The second restart reached the picture exactly; ten did not run.",
    "reached",
    residuals=[FLAT, "0"],
    exact=True,
)
holds(
    "reached-within-rounding",
    "Reached by the last restart, not pixel for pixel.",
    "reached",
    residuals=[*[FLAT] * 11, "1.00000e-09"],
    exact=False,
)
holds(
    "inconclusive-below-margin",
    "One unit in the last digit below the margin.",
    "inconclusive",
    residuals=["7.99999e-05"],
)
holds("excluded-at-margin", "Exactly at the margin.", "excluded", residuals=["8.00000e-05"])
holds(
    "inconclusive-two-hard-controls",
    "k = 2, where the preset allows 1.",
    "inconclusive",
    hard={3: None, 98: FLAT},
)
holds(
    "inconclusive-no-recall",
    "Ten of 99 controls were not found again: fewer than nine tenths recovered.",
    "inconclusive",
    hard=dict.fromkeys(range(10), "3.00000e-07"),
)
holds(
    "inconclusive-caution",
    "The file's history is not one that was calibrated.",
    "inconclusive",
    cautions=("restart intervals", "a colour profile: Größe é"),
)
holds(
    "inconclusive-long-cautions",
    "Reasons longer than the gate's reason and the sentence may be: both are cut.",
    "inconclusive",
    cautions=tuple(chr(ord("a") + i) * 900 for i in range(3)),
)
holds(
    "inconclusive-restart-without-result",
    "One restart gave no finite number: the search is not complete.",
    "inconclusive",
    residuals=[FLAT, None, FLAT],
)
holds(
    "inconclusive-nothing-finite",
    "No restart gave a finite number; statistic absent, k counts the infinite.",
    "inconclusive",
    residuals=[None],
)
holds(
    "inconclusive-all-controls-hard",
    "No control was found: k = n, the bound is 1.",
    "inconclusive",
    hard=dict.fromkeys(range(99), "9.00000e-01"),
)
holds(
    "inconclusive-infinite-allowance",
    "A mismatch output without a finite residual: the margin is infinite.",
    "inconclusive",
    allowance=None,
)
holds("excluded-jpeg-colour", "A colour JPEG.", "excluded", kind=v.jpeg(3), picture="a.jpg")
holds("excluded-jpeg-gray", "A gray JPEG.", "excluded", kind=v.jpeg(1), picture="a.jpg")
holds(
    "reached-jpeg",
    "A JPEG at the threshold, which is the 99th percentile of its controls' truths.",
    "reached",
    kind=v.jpeg(3),
    picture="a.jpg",
    residuals=["2.00000e-07"],
    exact=True,
)
holds(
    "excluded-gray-model-colour-file",
    "A gray model's output repeated over three channels, truncated.",
    "excluded",
    kind=v.lossless(3, 1, "truncate"),
)
holds("excluded-gray", "A gray picture and model.", "excluded", kind=v.lossless(1, 1))
holds("excluded-ed25519", "Signed by Ed25519.", "excluded", key=v.ED25519)
holds(
    "excluded-two-trusted-keys",
    "The verifier trusts two keys; the second signed.",
    "excluded",
    key=v.SECOND,
    keys=(v.KEY, v.SECOND),
)
holds("excluded-without-encoder", "All starts are from the prior.", "excluded", encoder=False)
holds("excluded-adam", "A latent above the dense limit: Adam.", "excluded", size=511)
holds(
    "excluded-gauss-newton-cg",
    "A latent above the dense limit, under version 2: Gauss-Newton-CG.",
    "excluded",
    size=511,
    preset="pristine-quick-v2",
)
holds(
    "excluded-version-2-dense",
    "A latent within the dense limit, under version 2: Levenberg-Marquardt.",
    "excluded",
    preset="pristine-quick-v2",
    stored=False,
)
holds(
    "excluded-in-stages",
    "Under version 3, searched style first: no encoder, and every start is staged.",
    "excluded",
    preset="pristine-quick-v3",
    encoder=False,
    stages=True,
)
holds(
    "excluded-version-3-without-stages",
    "A generator without stages under version 3: searched as under version 2.",
    "excluded",
    preset="pristine-quick-v3",
    stored=False,
)
holds(
    "excluded-non-ascii-name",
    "Names outside ASCII and outside the basic plane.",
    "excluded",
    picture="Фото «é» 写真 \U0001f600 ﷼.png",
    change=files("модель/ж.pt", "модель/\U0001f600.pt"),
)
holds(
    "excluded-model-in-folders",
    "Files with the same contents, a name with a quote and a backquote.",
    "excluded",
    change=files("b/x.pt", 'a/"`$(x).pt', "a.pt"),
)
holds(
    "excluded-standard",
    "The standard preset: 999 controls, k = 4.",
    "excluded",
    preset="pristine-standard-v1",
    hard=dict.fromkeys(range(4)),
)
holds(
    "inconclusive-standard",
    "The standard preset with k = 5.",
    "inconclusive",
    preset="pristine-standard-v1",
    hard=dict.fromkeys(range(5)),
    stored=False,
)
holds(
    "excluded-strict",
    "The strict preset: 2999 controls, k = 0.",
    "excluded",
    preset="pristine-strict-v1",
    hard={},
    stored=False,
)
