"""Every field of the predicate left out, doubled or altered, and the bundle signed again.

The attacker here is the signer. What V0 recomputes must be refused; what it only carries is listed
in SPEC.md ("Not authenticated"), and the two lists must be the same.
"""

import re
from pathlib import Path

import pytest
from bundle_samples import refusal, sign, sign_bytes, statement, trace_root

from deniability.crypto.canonical import canonical_json
from deniability.errors import CommitmentError, StatementError, StatisticsError

SPEC = Path(__file__).resolve().parent.parent.parent / "schemas" / "SPEC.md"
#: Indexes of long lists at which fields are tried: first, one that is special, last.
TRIED = {
    "controls.controls": (0, 7, 98),
    "controls.mismatches": (0, 13, 23),
    "restarts": (0, 1, 11),
    "finding.families.0.gates": (0, 4),
    "scope": (0, 6),
}


def leaves(value, path=()):
    """Yield paths of all members and of the entries of lists, long lists sampled."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield (*path, name)
            yield from leaves(member, (*path, name))
    elif isinstance(value, list):
        for index in TRIED.get(".".join(map(str, path)), range(len(value))):
            yield (*path, index)
            yield from leaves(value[index], (*path, index))


def tried(verdict):
    """Paths of the predicate; of `reached` only what differs from `excluded`."""
    paths = leaves(statement(verdict)["predicate"])
    different = {"finding", "restarts", "traceRoot"}
    return [path for path in paths if verdict == "excluded" or path[0] in different]


def pattern(path):
    """Name a path as SPEC.md does: indexes of lists are a star."""
    return ".".join("*" if isinstance(step, int) else step for step in path)


def listed(heading):
    """Return the paths in the list under a heading of SPEC.md."""
    section = SPEC.read_text("utf-8").split(f"### {heading}\n", 1)[1].split("\n#", 1)[0]
    items = re.findall(r"^- ((?:`[^`]+`[, ]*(?:and )?\n? *)+):", section, re.MULTILINE)
    return {name for item in items for name in re.findall(r"`([^`]+)`", item)}


def holder(content, path):
    value = content["predicate"]
    for step in path[:-1]:
        value = value[step]
    return value


#: Values that another field of the same form could have.
FORMS = (
    (r"[0-9a-f]{64}", ("0" * 64, "f" * 64)),
    (r"(0|[1-9]\.[0-9]{5}e[+-][0-9]{2})", ("9.99999e+09", "0", "1.00000e-30", "1.00000e-09")),
    (r"-?[0-9]+(\.[0-9]+)?", ("0.5", "3")),
    (r"20[0-9-]{8}T.*Z", ("2020-01-01T00:00:00Z",)),
)
WORDS = (
    ("encoder", "encoder-noise", "prior", "staged"),
    ("stalled", "exhausted", "reached", "nonFinite", "notRun"),
    ("cpu", "cuda"),
    ("levenberg-marquardt", "gauss-newton-cg", "adam"),
    ("torch-cpu", "numpy-randomstate"),
    ("state-dict", "torchscript"),
    ("round", "truncate"),
    ("lossless", "jpeg"),
    ("excluded", "reached", "inconclusive"),
    ("calibrated", "reached"),
    ("normal", "uniform"),
)


def others(value):
    """Return values of the same form that say something else."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, max(0, value - 1)]
    of_form = next((values for form, values in FORMS if re.fullmatch(form, value)), None)
    words = [word for group in WORDS if value in group for word in group]
    return [*(of_form or (value + "x",)), *words]


def attempt(content):
    """Return the refusal of a changed statement whose signer also mends the root of the trace."""
    predicate = content["predicate"]
    if isinstance(predicate.get("restarts"), list) and "traceRoot" in predicate:
        predicate["traceRoot"] = trace_root(predicate["restarts"])
    return refusal(sign(content))


REFUSED = (StatementError, CommitmentError, StatisticsError)


@pytest.mark.parametrize("verdict", ["excluded", "reached"])
def test_what_the_signer_can_alter_unnoticed_is_what_the_specification_lists(verdict):
    accepted, refused = set(), set()
    for path in tried(verdict):
        value = holder(statement(verdict), path)[path[-1]]
        if isinstance(value, dict | list):
            continue
        for other in others(value):
            if other == value:
                continue
            content = statement(verdict)
            holder(content, path)[path[-1]] = other
            error = refusal(sign(content)) if path == ("traceRoot",) else attempt(content)
            assert error is None or isinstance(error, REFUSED), (path, other, error)
            (accepted if error is None else refused).add(pattern(path))
    only_reached = {"finding.reached.pixelForPixel"}
    carried = listed("Carried, not checked at V0")
    assert accepted <= carried, accepted - carried
    if verdict == "excluded":
        assert carried - accepted <= only_reached
    assert any(name.startswith("finding.families.*.gates") for name in refused)


@pytest.mark.parametrize("verdict", ["excluded", "reached"])
def test_leaving_any_field_out_is_refused_or_changes_nothing(verdict):
    before = statement(verdict)["predicate"]["finding"]
    left_out = set()
    for path in tried(verdict):
        content = statement(verdict)
        del holder(content, path)[path[-1]]
        error = attempt(content)
        if error is None:
            left_out.add(pattern(path))
            assert content["predicate"]["finding"] == before
        else:
            assert isinstance(error, REFUSED), (path, error)
            assert re.match(r"b\.json: (predicate: )?(field |[a-z])", str(error)), error
    listed_so = listed("Left out at V0 without being noticed")
    assert left_out <= listed_so, left_out - listed_so
    if verdict == "excluded":
        assert left_out == listed_so


def test_null_is_no_way_to_leave_a_field_out():
    members = {pattern(path): path for path in tried("excluded") if isinstance(path[-1], str)}
    for path in members.values():
        content = statement()
        holder(content, path)[path[-1]] = None
        error = refusal(sign(content))
        assert isinstance(error, StatementError), (path, error)
        assert str(path[-1]) in str(error)


def test_unknown_fields_are_refused_in_every_object():
    objects = {pattern(path[:-1]): path for path in tried("excluded") if isinstance(path[-1], str)}
    for path in objects.values():
        content = statement()
        holder(content, path)["extra"] = 0
        error = refusal(sign(content))
        assert isinstance(error, StatementError), (path, error)
        assert "extra" in str(error)


def test_any_field_twice_is_refused():
    payload = canonical_json(statement())
    for name in sorted(set(re.findall(rb'"([A-Za-z0-9]+)":', payload))):
        doubled = payload.replace(b'"%b":' % name, b'"%b":0,"%b":' % (name, name), 1)
        error = refusal(sign_bytes(doubled))
        assert isinstance(error, StatementError), name
        assert name.decode() in str(error)


LISTS = [
    "finding.families",
    "finding.families.0.gates",
    "scope",
    "model.files",
    "controls.controls",
    "controls.mismatches",
    "restarts",
    "protocol.families",
]


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("change", ["drop-first", "drop-last", "drop-all", "double", "swap"])
def test_entries_dropped_doubled_or_put_in_another_order(name, change):
    content = statement()
    path = tuple(int(step) if step.isdigit() else step for step in name.split("."))
    entries = holder(content, path)[path[-1]]
    if change == "drop-first":
        del entries[0]
    elif change == "drop-last":
        del entries[-1]
    elif change == "drop-all":
        entries.clear()
    elif change == "double":
        entries.append(entries[-1])
    elif len(entries) > 1:
        entries[0], entries[1] = entries[1], entries[0]
    if name == "model.files" and change == "swap":
        assert attempt(content) is None  # the digests are over sorted lists: it is the same model
        return
    if len(entries) == 1 and change == "swap":
        return
    error = attempt(content)
    assert isinstance(error, REFUSED), error
    assert name.split(".")[0] in str(error)
