"""Every field of a binding altered or left out and signed again, as `test_bundle_fields.py` does.

What V0 does not notice is listed in SPEC.md, and the two lists must be the same.
"""

import re

from binding_samples import JPEG, LOSSLESS, binding, list_of, picture, pictures, unread
from bundle_samples import TRUST, sign
from test_bundle_fields import REFUSED, holder, listed, others, pattern

from deniability.errors import DeniabilityError, StatementError
from deniability.verify.binding import verify_binding

#: Entries of long lists at which fields are tried.
TRIED = {"pictures": (0, 30, 31, 32, 33), "kinds.1.truths": (0, 98), "scope": (0, 3)}


def sample():
    """Pictures that were found, not found, repeated and not examined; all but a list."""
    missed = picture(31, stop="stalled", residual="1.00000e-02")
    shown = (*pictures(31, jpeg=1), missed, picture(32, repeats=0), unread(33))
    return binding(shown, kinds=(LOSSLESS, JPEG))


def refusal(content):
    try:
        verify_binding(sign(content), trust=TRUST, where="b.json")
    except DeniabilityError as error:
        return error
    return None


def leaves(value, path=()):
    if isinstance(value, dict):
        for name, member in value.items():
            yield (*path, name)
            yield from leaves(member, (*path, name))
    elif isinstance(value, list):
        joined = ".".join(map(str, path))
        indexes = TRIED.get(joined, range(0 if joined.endswith("Table") else len(value)))
        for index in indexes:
            yield (*path, index)
            yield from leaves(value[index], (*path, index))


PATHS = list(leaves(sample()["predicate"]))


def test_what_the_signer_can_alter_unnoticed_is_what_the_specification_lists():
    accepted = set()
    for path in PATHS:
        value = holder(sample(), path)[path[-1]]
        if isinstance(value, dict | list):
            continue
        for other in others(value):
            if other == value:
                continue
            content = sample()
            holder(content, path)[path[-1]] = other
            error = refusal(content)
            assert error is None or isinstance(error, REFUSED), (path, other, error)
            if error is None:
                accepted.add(pattern(path))
    carried = listed("Carried in a binding, not checked at V0")
    assert accepted == carried, accepted ^ carried


def test_leaving_any_field_out_is_refused_or_listed():
    left_out = set()
    for path in PATHS:
        content = sample()
        del holder(content, path)[path[-1]]
        error = refusal(content)
        if error is None:
            left_out.add(pattern(path))
        else:
            assert isinstance(error, REFUSED), (path, error)
    assert left_out == listed("Left out of a binding without being noticed")


def test_null_and_unknown_fields_are_refused():
    members = {pattern(path): path for path in PATHS if isinstance(path[-1], str)}
    for path in members.values():
        content = sample()
        holder(content, path)[path[-1]] = None
        assert isinstance(refusal(content), StatementError), path
        content = sample()
        holder(content, path)["extra"] = 0
        assert isinstance(refusal(content), StatementError), path


def test_of_a_list_everything_follows():
    shown = pictures(30)
    for path in leaves(binding(shown, obtained=list_of(shown))["predicate"]["obtained"]):
        content = binding(shown, obtained=list_of(shown))
        listing = content["predicate"]["obtained"]
        for other in others(listing[path[0]]):
            if other != listing[path[0]]:
                changed = content | {"predicate": content["predicate"] | {}}
                changed["predicate"]["obtained"] = listing | {path[0]: other}
                assert isinstance(refusal(changed), REFUSED), path
    assert re.match("[0-9a-f]{64}", list_of(shown).decode())
