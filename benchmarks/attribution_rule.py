"""The calibrated rule in the attribution benchmark: what `deny` would say of each model.

A picture is judged for each model as `deny attribute` does it: its controls, its restarts, its
gates. The controls are kept in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence

import attribution_models as models
import numpy as np
from attribution_search import pixel_handling, procedure_of
from setting import Setting, start_seed

from deniability.evidence.calibrate import calibrate
from deniability.evidence.progress import Silent
from deniability.imaging.handling import Pixels
from deniability.imaging.jpeg_traces import jpeg_quality_before
from deniability.imaging.observation import build_handling
from deniability.stats.attribution import attribution_verdict
from deniability.stats.evaluation import FamilyRule
from deniability.stats.verdict import residual, thresholds
from deniability.wire.attribution import AttributionVerdict
from deniability.wire.controls import ControlSet
from deniability.wire.edits import EditName
from deniability.wire.exclusion import Verdict
from deniability.wire.numbers import decimal_string
from deniability.wire.observation import ObservationKind


def kind_of(setting: Setting, edit: EditName | None) -> ObservationKind:
    """Return the kind of a picture stored without loss after an edit."""
    kind = pixel_handling(setting).kind
    return kind.edited(edit, height=kind.height, width=kind.width)


def controls_of(setting: Setting, edit: EditName | None) -> ControlSet:
    """Return the controls of a model for an edit, from the cache or made now."""
    kind = kind_of(setting, edit)
    name = f"controls-{setting.model.weights[:12]}-{setting.protocol.digest[:8]}-{edit}.json"
    path = models.FOLDER / name
    if path.exists():
        return ControlSet.model_validate_json(path.read_bytes())
    made = calibrate(
        procedure_of(setting), build_handling(kind), state=None, progress=Silent()
    ).controls
    path.write_text(made.model_dump_json(by_alias=True))
    return made


def judge(
    setting: Setting, edit: EditName | None, found: float, *, caution: bool = False
) -> Verdict:
    """Return what the rule of one family says of a picture's smallest residual."""
    if not np.isfinite(found):
        return "inconclusive"
    rule = FamilyRule.of(controls_of(setting, edit), setting.protocol)
    statistic = residual(decimal_string(found))
    if statistic <= rule.reached:
        return "reached"
    return "excluded" if not caution and rule.denies(statistic) else "inconclusive"


def searched(
    setting: Setting, edit: EditName | None, pixels: Pixels, role: str, restarts: int
) -> list[float]:
    """Search a model for pictures by the protocol of `deny`; return their smallest residuals."""
    handling = build_handling(kind_of(setting, edit))
    limits = thresholds(controls_of(setting, edit), setting.protocol)
    procedure = procedure_of(
        Setting(
            **(
                vars(setting)
                | {"protocol": setting.protocol.model_copy(update={"restarts": restarts})}
            )
        )
    )
    observations = handling.shown(pixel_handling(setting).observations(pixels))
    traces = procedure.engine(handling, limits.threshold).run(observations, start_seed(role))
    return [np.inf if trace.residual is None else trace.residual for trace in traces]


def open_set(
    settings: Sequence[Setting], pixels: Pixels, role: str
) -> tuple[list[list[float]], list[list[Verdict]], list[AttributionVerdict]]:
    """Judge pictures for every model; return residuals and verdicts `N x k`, and the answers."""
    columns = [
        searched(setting, None, pixels, role, setting.protocol.restarts) for setting in settings
    ]
    residuals = [list(row) for row in zip(*columns, strict=True)]
    cautions = [jpeg_quality_before(np.moveaxis(p, 0, 2)) is not None for p in pixels]
    verdicts = [
        [judge(s, None, found, caution=caution) for s, found in zip(settings, row, strict=True)]
        for row, caution in zip(residuals, cautions, strict=True)
    ]
    return residuals, verdicts, [attribution_verdict(row) for row in verdicts]
