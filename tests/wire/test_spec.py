"""SPEC.md is checked like code: what it states in figures, tables and lists has to be so."""

import ast
import functools
import hashlib
import json
import re
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import rfc8785

from deniability.crypto.digest import FileDigest, model_digest, sha256_hex
from deniability.crypto.merkle import merkle_root
from deniability.crypto.seeds import derive_seed
from deniability.stats.binomial import upper_bound_at_most
from deniability.stats.evaluation import decide_evaluation
from deniability.stats.evaluation_words import (
    MODEL_GROUPS,
    about_group,
    evaluation_scope,
    order_of_group,
)
from deniability.stats.sentence import (
    OTHER_HANDLING,
    finding_sentence,
    model_cautions,
    scope_lines,
)
from deniability.stats.verdict import LOSSLESS_FLOOR
from deniability.verify import parse
from deniability.wire import roles
from deniability.wire.edits import WORDS
from deniability.wire.evaluation import EvaluatedGroup
from deniability.wire.exclusion import EXCLUSION_TYPE
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import ENGINE_VERSION, PRESETS, mismatch_ways
from deniability.wire.registration import REGISTRATION_TYPE
from deniability.wire.roles import (
    control_restart_seed,
    control_seed,
    encoder_seed,
    evaluation_copy_seed,
    evaluation_restart_seed,
    evaluation_seed,
    mismatch_seed,
    restart_seed,
)
from deniability.wire.schema import schema_files
from deniability.wire.statement import (
    ATTRIBUTION_TYPE,
    BUNDLE_MEDIA_TYPE,
    EVALUATION_TYPE,
    PAYLOAD_TYPE,
    STATEMENT_TYPE,
)

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "schemas" / "SPEC.md").read_text("utf-8")
sys.path.insert(0, str(ROOT / "tests" / "verify"))

LOSSLESS = ObservationKind(
    family="lossless", channels=3, height=8, width=8, model_channels=3, rounding="round"
)
JPEG = ObservationKind(
    family="jpeg",
    channels=1,
    height=8,
    width=8,
    model_channels=1,
    components="gray",
    luma_table=(1,) * 64,
    orientation=1,
)
KINDS = {"lossless": LOSSLESS, "jpeg": JPEG}


def section(heading: str) -> str:
    """Return the text under a heading up to the next heading."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def rows(heading: str) -> list[list[str]]:
    """Return the body of the table under a heading, cells stripped."""
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def block(name: str) -> dict[str, str]:
    """Return the lines `key: value` of a fenced block."""
    found = re.search(rf"^```{name}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert found, name
    return dict(line.split(": ", 1) for line in found[1].splitlines())


def hexes(text: str) -> list[str]:
    return re.findall(r"\b[0-9a-f]{64}\b", text)


# --- fields


@functools.cache
def definitions():
    """Every object of every schema, by name."""
    found = {}
    for name, root in (
        ("sigstore-bundle", "SigstoreBundle"),
        ("statement", "Statement"),
        ("registration", "Registration"),
        ("exclusion", "Exclusion"),
        ("attribution", "Attribution"),
        ("chain", "Chain"),
        ("binding", "Binding"),
        ("evaluation", "Evaluation"),
        ("intent", "Intent"),
        ("generator", "GeneratorSpec"),
        ("verification-summary", "VerificationSummary"),
        ("withdrawal", "Withdrawal"),
    ):
        schema = json.loads(schema_files()[f"{name}.schema.json"])
        found |= {root: schema} | schema.get("$defs", {})
    return found


@pytest.mark.parametrize("name", sorted(definitions()))
def test_every_field_of_every_object_is_in_its_table(name):
    schema = definitions()[name]
    described = {re.sub(r"[`?]", "", row[0]): row[0].endswith("?") for row in rows(name)}
    required = set(schema["required"])
    assert described == {field: field not in required for field in schema["properties"]}


def test_there_are_no_tables_of_objects_that_do_not_exist():
    named = set(re.findall(r"^#### ([A-Z][A-Za-z]+)$", TEXT, re.MULTILINE))
    assert named == set(definitions())


@pytest.mark.parametrize("name", sorted(definitions()))
def test_words_that_a_field_can_have_are_in_its_row(name):
    for row in rows(name):
        field = re.sub(r"[`?]", "", row[0])
        schema = definitions()[name]["properties"][field]
        words = [schema["const"]] if "const" in schema else schema.get("enum", [])
        for option in schema.get("anyOf", []):
            words += option.get("enum", [])
        if row[1] in {"section 5", "edit"}:
            continue
        for word in words:
            assert str(word) in row[1], (field, word)


def test_the_examples_have_fields_that_exist():
    known = {field for schema in definitions().values() for field in schema["properties"]}
    for example in re.findall(r"^```json\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL):
        assert set(re.findall(r'"([A-Za-z0-9_]+)":', example)) <= known


def test_the_example_finding_follows_from_its_numbers():
    example = re.findall(r"^```json\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)[1]

    def number(field):
        return Fraction(re.search(rf'"{field}":"?([0-9.e+-]+)', example)[1])

    k, n = int(number("k")), int(number("n"))
    assert Fraction(int(number("numerator")), int(number("denominator"))) == Fraction(1 + k, n + 1)
    assert upper_bound_at_most(k, n, number("upperBound"))
    assert not upper_bound_at_most(k, n, number("upperBound") - Fraction(1, 10**6))
    assert number("margin") == 10 * number("allowance")
    assert number("allowance") > number("floor") > LOSSLESS_FLOOR > number("percentile99")


# --- names and digests


def test_identifiers():
    for text in (
        EXCLUSION_TYPE,
        REGISTRATION_TYPE,
        ATTRIBUTION_TYPE,
        EVALUATION_TYPE,
        BUNDLE_MEDIA_TYPE,
        PAYLOAD_TYPE,
    ):
        assert f"`{text}`" in TEXT
    assert f"`{STATEMENT_TYPE}`" in TEXT
    assert f"engine version `{ENGINE_VERSION}`" in TEXT
    assert f"At most\n{parse.MAX_BUNDLE_BYTES} bytes (64 MiB), {parse.MAX_DEPTH} levels" in TEXT
    assert f"in a file or payload, {parse.MAX_VALUES} bytes that are a\ncomma" in TEXT
    assert f"the file begins `{parse.BUNDLE_START.decode()}`, and at most\n" in TEXT
    assert f"{parse.MAX_BESIDE_PAYLOAD} bytes (1 MiB) remain from the next quote on" in TEXT


def shipped():
    """The presets without those that other tests of this process have added."""
    return {name: p for name, p in PRESETS.items() if not name.startswith("test-")}


def test_presets():
    table = {row[0].strip("`"): row[1:] for row in rows("Presets")}
    assert table == {
        name: [str(p.controls), p.alpha, str(p.restarts), f"`{p.digest}`"]
        for name, p in shipped().items()
    }


def test_largest_k_of_the_presets():
    stated = re.search(r"largest k that passes is ([^\n.]+)\.", TEXT)[1]
    pairs = [tuple(map(int, pair.split(" of "))) for pair in stated.split(", ")]
    assert {n for _, n in pairs} == {p.controls for p in shipped().values()}
    largest = {n: k for k, n in pairs}
    for protocol in shipped().values():
        n, alpha = protocol.controls, Fraction(protocol.alpha)
        k = largest[n]
        assert upper_bound_at_most(k, n, alpha)
        assert not upper_bound_at_most(k + 1, n, alpha)


def test_the_model_digest_example():
    files = [FileDigest("a.pt", 3, sha256_hex(b"abc")), FileDigest("b.pt", 0, sha256_hex(b""))]
    weights = sha256_hex(rfc8785.dumps(sorted(f.sha256 for f in files)))
    assert hexes(section("Model")) == [model_digest(files), weights]


def test_the_seed_example():
    preimage, seed = section("Derived seeds").rstrip().splitlines()[-2:]
    assert hashlib.sha256(preimage.strip().encode()).hexdigest() == seed.strip()
    fields = json.loads(preimage)
    assert rfc8785.dumps(fields) == preimage.strip().encode()
    domain = fields.pop("domain")
    assert f"`domain` = `{domain}`" in TEXT
    fields["index"] = int(fields["index"])
    assert derive_seed(**fields).hex() == seed.strip()


def test_the_table_of_roles():
    from bundle_samples import MODEL

    digest, kind, picture = "d" * 64, "e" * 64, "f" * 64
    table = {row[0].strip("`"): row[1] for row in rows("Derived seeds")}
    constants = {
        *(roles.ENCODER, roles.CONTROL, roles.CONTROL_RESTART, roles.MISMATCH, roles.RESTART),
        *(roles.EVALUATION, roles.EVALUATION_RESTART, roles.EVALUATION_COPY),
    }
    assert set(table) == constants
    made = {
        "encoder": encoder_seed(MODEL, digest),
        "control": control_seed(MODEL, digest, kind, 5),
        "control-restart": control_restart_seed(MODEL, digest, kind, 5),
        "mismatch": mismatch_seed(MODEL, digest, kind, 5),
        "restart": restart_seed(MODEL, digest, picture, 5),
        "evaluation": evaluation_seed(MODEL, digest, kind, "int8", 5),
        "evaluation-restart": evaluation_restart_seed(MODEL, digest, kind, "int8", 5),
        "evaluation-copy": evaluation_copy_seed(MODEL, digest, "int8", 5),
    }
    pictures = {
        "empty": "",
        "digest of the kind": kind,
        "sha256 of the accused file": picture,
        "group and digest of the kind": sha256_hex(f"int8 {kind}".encode()),
        "group": sha256_hex(b"int8 "),
    }
    for role, stated in table.items():
        expected = derive_seed(
            role=role,
            weights=MODEL.weights,
            protocol=digest,
            picture=pictures[stated],
            index=0 if role == "encoder" else 5,
        )
        assert made[role] == expected, role


def test_the_merkle_example():
    (root,) = hexes(section("8. Trace and sidecars"))[:1]
    assert merkle_root([b"a", b"b", b"c"]).hex() == root


def test_the_tensor_examples():
    _, latent, tensors = hexes(section("8. Trace and sidecars"))
    raw = bytes.fromhex("0000803f000000c0")  # 1 and -2 as little-endian float32
    assert hashlib.sha256(raw).hexdigest() == latent
    entry = {"name": "mean", "shape": [2], "sha256": latent}
    assert hashlib.sha256(rfc8785.dumps([entry])).hexdigest() == tensors


def test_the_tensor_examples_against_the_program():
    torch = pytest.importorskip("torch")
    from deniability.evidence.tensors import latent_digest, tensors_digest

    _, latent, tensors = hexes(section("8. Trace and sidecars"))
    numbers = torch.tensor([1.0, -2.0])
    assert latent_digest(numbers) == latent
    assert tensors_digest({"mean": numbers}) == tensors


def test_the_pixel_digest_example():
    np = pytest.importorskip("numpy")
    from deniability.imaging.decode import canonical_digest

    (stated,) = hexes(section("4. From a file to an observation"))
    raw = b"deniability/pixels/v1\n2 1 3\n" + bytes([1, 2, 3, 4, 5, 6])
    assert hashlib.sha256(raw).hexdigest() == stated
    pixels = np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8)
    assert canonical_digest(pixels) == stated


def test_the_entropy_vectors():
    pytest.importorskip("numpy")
    from deniability.imaging.draws import shake256_normal

    vectors = section("Vectors of `shake256`")
    stated = re.findall(r"\b[0-9a-f]{16}\b", vectors)
    assert len(stated) == 8
    assert shake256_normal(bytes(32), 8).astype("<f8").tobytes().hex() == "".join(stated)
    (digest,) = hexes(vectors)
    many = shake256_normal(b"\x01" * 32, 100_000).astype("<f8").tobytes()
    assert hashlib.sha256(many).hexdigest() == digest


def test_the_uniform_of_shake256_is_the_stated_one():
    pytest.importorskip("numpy")
    from deniability.imaging.draws import shake256_uniform

    assert "k = floor(w / 2^12)" in TEXT
    assert "u = (k + 0.5) · 2^-52" in TEXT
    stream = hashlib.shake_256(b"seed").digest(80)
    for i, drawn in enumerate(shake256_uniform(b"seed", 10)):
        w = int.from_bytes(stream[8 * i : 8 * i + 8], "little")
        assert Fraction(float(drawn)) == (Fraction(w >> 12) + Fraction(1, 2)) / 2**52


# --- the rule and its words


def test_mismatch_ways():
    table = [(row[0].strip("`"), row[1]) for row in rows("Mismatch allowance")]
    assert tuple(way for way, _ in table) == mismatch_ways("jpeg")
    assert tuple(way for way, family in table if family == "both") == mismatch_ways("lossless")


@pytest.mark.parametrize("family", ["lossless", "jpeg"])
@pytest.mark.parametrize("verdict", ["excluded", "inconclusive", "reached"])
@pytest.mark.parametrize("exact", [True, False])
def test_sentences(family, verdict, exact):
    words, protocol = block("family-words"), PRESETS["pristine-standard-v1"]
    stated = block("sentences")[verdict].format(
        digest="d" * 64,
        exactly="pixel for pixel" if exact else "to within rounding",
        output=words[f"{family} output"],
        not_examined=words[f"{family} not_examined"],
        alpha=protocol.alpha,
        confidence=protocol.confidence,
        controls=protocol.controls,
        name=protocol.name,
        reasons="one; two",
    )
    assert stated == finding_sentence(
        verdict,
        kind=KINDS[family],
        model_digest="d" * 64,
        protocol=protocol,
        pixel_for_pixel=exact,
        failed=["one", "two"],
    )


@pytest.mark.parametrize("verdict", ["excluded", "inconclusive", "reached"])
def test_reasons_of_the_gates(verdict):
    from bundle_samples import statement

    predicate = statement(verdict)["predicate"]
    family, protocol = predicate["finding"]["families"][0], predicate["protocol"]
    values = protocol | family | {"upper_bound": family["upperBound"], "name": protocol["name"]}
    values["finished"] = sum("residual" in r for r in predicate["restarts"])
    templates = block("sentences")
    for gate in family["gates"]:
        assert gate["reason"] == templates[gate["name"]].format(**values)
    assert [g["name"] for g in family["gates"]] == list(templates)[3:]
    stated = re.findall(r"^\d\. `([a-z-]+)`:", section("Gates and verdict"), re.MULTILINE)
    assert stated == list(templates)[3:]


@pytest.mark.parametrize("family", ["lossless", "jpeg"])
def test_scope(family):
    found = re.search(r"^```scope\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)[1]
    lossless, jpeg, *others = found.splitlines()
    first = {"lossless": lossless, "jpeg": jpeg}[family].removeprefix(f"{family}: ")
    assert (first, *others) == scope_lines(KINDS[family])
    words = block("origin")
    for chained in (True, False):
        for beacon in (True, False):
            if chained or beacon:
                last = words["chain" if chained else "no chain"]
                seeds = words["beacon" if beacon else "no beacon"]
                expected = (first, *others[:-1], last, seeds)
                assert expected == scope_lines(KINDS[family], chained=chained, beacon=beacon)
    lines = scope_lines(KINDS[family], bound=True)
    assert lines == (first, *others[:-2], block("deployment")["binding"], others[-1])


def test_words_of_a_decoder():
    words = block("decoder")
    assert scope_lines(KINDS["jpeg"], model="diffusers") == (
        *scope_lines(KINDS["jpeg"]),
        words["scope"],
    )
    assert model_cautions("diffusers") == (words["caution"],)
    assert model_cautions("onnx") == ()


def test_sentences_and_scope_of_attributions():
    from attribution_samples import candidates, handled_candidates

    from deniability.stats.attribution import attribution_scope, decide_attribution

    stated = re.search(r"^```attribution-scope\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)[1]
    plain, handled = candidates("excluded", "reached"), handled_candidates(None, "mirrored")
    for made, outputs in (
        (plain, ", unedited outputs"),
        (handled, " outputs, handled in any one of the ways examined,"),
    ):
        assert f"`{outputs}`" in " ".join(TEXT.split())
        lines = stated.replace("{outputs}", outputs).splitlines()
        assert tuple(lines) == attribution_scope(made)
    words, family = block("attribution"), block("family-words")
    output = family["lossless output"]
    values = {"output": output, "alpha": "0.05", "confidence": "0.95", "exactly": "pixel for pixel"}

    def names(digests):
        models = "the model" if len(digests) == 1 else "the models"
        return f"{models} " + ", ".join(f"sha256:{digest}" for digest in digests)

    for verdicts in (
        ("reached", "excluded", "excluded"),
        ("excluded", "excluded"),
        ("reached", "reached", "inconclusive"),
        ("reached", "inconclusive", "excluded"),
    ):
        found = decide_attribution(candidates(*verdicts))
        groups = (
            ("one reached" if len(found.reached) == 1 else "many reached", found.reached),
            ("excluded", found.excluded),
            ("undecided", found.inconclusive),
        )
        clauses = [words[key].format(names=names(ds), **values) for key, ds in groups if ds]
        clauses += [words["others"], family["lossless not_examined"]]
        head = f"{words[found.verdict]} ({len(verdicts)} models examined): "
        assert found.sentence == head + "; ".join(clauses) + "."
    way = "`an output, unmodified or handled in one of the ways examined,`"
    assert way in " ".join(TEXT.split())
    values |= {
        "output": way.strip("`"),
        "words": WORDS["mirrored"],
        "exactly": "to within rounding",
    }
    for edits, key in (
        (("mirrored", "excluded"), "one reached by an edit"),
        ((None, "excluded"), "one reached"),
        ((None, "mirrored"), "many reached, one by an edit"),
        ((None, None), "many reached"),
    ):
        found = decide_attribution(handled_candidates(*edits))
        clauses = [words[key].format(names=names(found.reached), **values)]
        if found.excluded:
            clauses.append(words["excluded"].format(names=names(found.excluded), **values))
        clauses += [words["others"], OTHER_HANDLING]
        head = f"{words[found.verdict]} (2 models examined): "
        assert found.sentence == head + "; ".join(clauses) + "."
    way = "`an output in one of these ways ({ways}), to which the search was narrowed,`"
    assert way in " ".join(TEXT.split())
    for narrowed, ways in (
        (("unedited",), "unmodified"),
        (("mirrored", "unedited", "tone"), f"mirrored, unmodified or {WORDS['tone']}"),
    ):
        made = [
            one.model_copy(update={"narrowed": narrowed})
            for one in handled_candidates("excluded", "excluded")
        ]
        assert f"is not {way.strip('`').format(ways=ways)} of" in decide_attribution(made).sentence


# --- steps


def numbered(heading: str) -> dict[int, str]:
    text = re.split(r"^(\d+)\. ", section(heading), flags=re.MULTILINE)
    return {int(n): " ".join(body.split()) for n, body in zip(text[1::2], text[2::2], strict=True)}


STEPS = numbered("9. Level V0: the bundle alone")


def test_steps_are_numbered_as_in_the_code():
    found = []
    for name in ("envelope", "bundle"):
        code = (ROOT / "deniability" / "verify" / f"{name}.py").read_text("utf-8")
        found += [int(n) for n in re.findall(r"\bStep (\d+):", code)]
    assert sorted(found) == list(STEPS) == list(range(1, 16))


def test_functions_run_in_the_order_of_the_steps():
    tree = ast.parse((ROOT / "deniability" / "verify" / "bundle.py").read_text("utf-8"))
    (verify,) = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name == "verify_exclusion"
    ]
    called = [
        node.value.func.id
        for node in verify.body
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
    ]
    steps = {
        "_check_subject": 6,
        "check_model": 7,
        "_check_protocol": 8,
        "_check_accused": 9,
        "_check_control_sets": 10,
        "_check_trace": 11,
        "_check_finding": 12,
        "check_cited": 15,
    }
    assert [steps[name] for name in called] == [*range(6, 13), 15]


def test_each_step_refuses_at_the_stage_that_it_names():
    from bundle_samples import ATTACKER, envelope_of, refusal, sign, sign_bytes, statement

    from deniability.crypto.canonical import canonical_json

    def envelope(change):
        bundle = envelope_of(canonical_json(statement()))
        change(bundle)
        return canonical_json(bundle)

    def predicate(change):
        content = statement()
        change(content["predicate"])
        return sign(content)

    def cites(content):
        content["binding"] = "AAAA"
        kind = ObservationKind.model_validate_json(canonical_json(content["accused"]["kind"]))
        content["scope"] = list(scope_lines(kind, bound=True))

    stamps = {"rfc3161Timestamps": [{"signedTimestamp": "AAAA"}]}
    attacks = {
        1: [(sign(statement()) + b"\n", "parse")],
        2: [
            (
                envelope(
                    lambda b: b["verificationMaterial"].update(timestampVerificationData=stamps)
                ),
                "timestamp",
            )
        ],
        3: [
            (
                envelope(lambda b: b["dsseEnvelope"]["signatures"][0].update(keyid="0" * 64)),
                "signature",
            ),
            (sign(statement(), ATTACKER), "trust"),
        ],
        4: [(envelope(lambda b: b["dsseEnvelope"].update(payload="AAAA")), "signature")],
        5: [
            (sign_bytes(b"{}"), "statement"),
            (predicate(lambda p: p.pop("finding")), "statement"),
        ],
        6: [(sign(statement() | {"subject": statement()["subject"] * 2}), "commitment")],
        7: [(predicate(lambda p: p["model"].update(digest="0" * 64)), "commitment")],
        8: [(predicate(lambda p: p["protocol"].update(alpha="0.5")), "commitment")],
        9: [(predicate(lambda p: p["accused"].update(width=9)), "commitment")],
        10: [(predicate(lambda p: p["controls"]["controls"].pop()), "commitment")],
        11: [(predicate(lambda p: p.update(traceRoot="0" * 64)), "commitment")],
        12: [(predicate(lambda p: p["finding"].update(sentence="x")), "statistics")],
        13: [(predicate(lambda p: p["registration"].update(chain="AAAA")), "commitment")],
        14: [(predicate(cites), "commitment")],
    }
    for step, cases in attacks.items():
        named = re.findall(r"[Ss]tage: ([a-z]+)", STEPS[step])
        assert [stage for _, stage in cases] in ([*named], [*named, *named]), step
        for raw, stage in cases:
            error = refusal(raw)
            assert error is not None
            assert error.stage == stage, step
            assert error.exit_code == (4 if stage in {"parse", "trust"} else 3)


def test_tolerances_of_the_replay():
    pytest.importorskip("torch")
    from deniability.evidence.replay import latents, search

    one = " ".join(section("10. Level V1: the latents rendered again").split())
    assert (latents._RELATIVE, latents._ABSOLUTE) == (0.02, 2e-9)
    assert "|c − r| > 0.02 · max(c, r) + 2·10⁻⁹ + T/2" in one
    assert "max(0, 0.98 r − 2·10⁻⁹)" in one
    assert "1.02 · max(c, r) + 2·10⁻⁹" in one
    two = " ".join(section("11. Level V2: the search run again").split())
    assert search._CLEARLY_LOWER == 0.5
    assert Fraction(1, 20) == search._SIGNIFICANCE
    assert "below s/2" in two
    assert "P(J ≥ j) < 1/20" in two


def test_slack_units_and_floor():
    pytest.importorskip("torch")
    from deniability.imaging.handling import STEPS as UNIT
    from deniability.imaging.handling import Handling
    from deniability.imaging.lossless import LosslessHandling

    assert "= 0.01/127.5. For a value v" in TEXT
    assert (UNIT, Handling.slack) == (127.5, 0.01 / 127.5)
    assert "1/195075" in section("5. The rule")
    assert LosslessHandling.base_floor == LOSSLESS_FLOOR == Fraction(1, 195075)


def test_starts():
    pytest.importorskip("torch")
    from deniability.inversion import starts

    assert "w is ½ if ⌊j/2⌋ is even, else 1" in section("7. The search")
    assert starts._NOISE_LEVELS == starts._SHRINK == (0.5, 1.0)
    kinds = [starts.start_kind(j) for j in range(5)]
    assert kinds == ["encoder", "encoder-noise", "prior", "encoder-noise", "prior"]
    assert {starts.start_kind(j, encoder=False) for j in range(5)} == {"prior"}
    assert "every start is `staged`" in section("7. The search")
    assert {starts.start_kind(j, encoder=False, staged=True) for j in range(5)} == {"staged"}


def test_turns_of_labels():
    words = " ".join(section("7. The search").split())
    assert "⌊j/2⌋ mod L with an encoder, j mod L without" in words
    assert [roles.label_rank(j, encoder=True, labels=3) for j in range(8)] == [
        0,
        0,
        1,
        1,
        2,
        2,
        0,
        0,
    ]
    assert [roles.label_rank(j, encoder=False, labels=3) for j in range(4)] == [0, 1, 2, 0]
    kinds = [roles.start_kind(j, labels=2) for j in range(6)]
    assert kinds == ["encoder", "prior", "encoder", "prior", "encoder-noise", "prior"]
    assert [roles.label_round(j, encoder=True, labels=2) for j in range(5)] == [0, 0, 0, 0, 1]
    assert [roles.label_round(j, encoder=False, labels=2) for j in range(5)] == [0, 0, 1, 1, 2]
    assert "24 / 2 with `pristine-standard-v1`" in words
    assert roles.most_labels(PRESETS["pristine-standard-v1"].restarts) == 24 // 2


# --- bindings


def test_the_words_of_a_binding():
    from binding_samples import JPEG, LOSSLESS, picture, pictures

    from deniability.stats.binding import binding_scope, decide_binding
    from deniability.wire.binding import Obtained

    words = block("binding-sentences")
    found = decide_binding(pictures(32, jpeg=2), (LOSSLESS, JPEG), model_digest="d" * 64)
    numbers = {"lossless": 30, "jpeg": 2, "exact": 32}
    assert found.sentence == words["bound"].format(
        count=32, share=found.share, digest="d" * 64, **numbers
    )
    some = (*pictures(5), picture(5, stop="stalled", residual="1.00000e-03"))
    failed = decide_binding(some, (LOSSLESS,), model_digest="d" * 64)
    assert failed.sentence == words["not-bound"].format(
        pictures=6, missed=1, reached=5, digest="d" * 64
    )
    text = re.search(r"^```binding-scope\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)[1]
    without, with_list, *others = text.splitlines()
    assert binding_scope(None) == (without.removeprefix("no list: "), *others)
    listed = Obtained(contents="AAAA", sha256="e" * 64, count=7)
    first = with_list.removeprefix("list: ").format(count=7, sha256="e" * 64)
    assert binding_scope(listed) == (first, *others)


def test_the_numbers_of_a_binding():
    from deniability.wire import binding

    rule = " ".join(TEXT.split("**The rule.**")[1].split())
    assert f"`count` is at least {binding.LEAST_OUTPUTS}" in rule
    assert f"with confidence {binding.CONFIDENCE}" in rule
    assert binding.MAX_LIST_BYTES == 2**20
    assert f"at most {binding.MAX_KINDS} BindingKind" in TEXT
    assert f"1 to {binding.MAX_PICTURES} BoundPicture" in TEXT
    pytest.importorskip("torch")
    from deniability.evidence.outputs import SAME_OUTPUT

    assert f"differ by {SAME_OUTPUT:.0f} squared on average" in " ".join(TEXT.split())


# --- words of evaluations


def test_the_groups_of_an_evaluation():
    stated = {tuple(key[:-1].split(" (")): how for key, how in block("evaluation-groups").items()}
    names = [name.replace("-N", "-1") for name, _ in stated]
    assert [about_group(name) for name in names] == [
        (near, how) for (_, near), how in stated.items()
    ]
    assert sorted(names, key=order_of_group) == names
    assert set(MODEL_GROUPS) <= set(names)


def test_the_sentence_of_an_evaluation():
    from evaluation_samples import QUICK, family

    words = block("evaluation")
    for residuals, good in (({"own": ("0",) * 20}, True), ({"own": ("9.00000e-01",) * 20}, False)):
        families = [family(residuals)]
        result = decide_evaluation(families, model_digest="d" * 64, protocol=QUICK)
        assert (result.promise_held, result.uniform) == (good, good)
        assert result.sentence == words["sentence"].format(
            digest="d" * 64,
            protocol=QUICK.name,
            own=20,
            families=1,
            denied=0 if good else 20,
            worst=result.at_most,
            promise=words["promise"].split(", or ")[not good],
            alpha=QUICK.alpha,
            values=words["values"].split(", or ")[not good],
        )


@pytest.mark.parametrize("narrowed", [None, ("lossless", "mirrored")])
@pytest.mark.parametrize("names", [("own",), ("own", "int8", "noise-0.1"), ("own", "other-1")])
def test_the_scope_of_an_evaluation(names, narrowed):
    lines = block("evaluation-scope")
    groups = [
        EvaluatedGroup(name=name, closeness=about_group(name)[0], how=about_group(name)[1])
        for name in names
    ]
    near = [group.name for group in groups if group.closeness == "near"]
    keys = [
        *("signers-word", "rate", "families", "near" if near else "none near", "strangers"),
        *("chosen" if "other-1" in names else "none chosen", "examined"),
        *["narrowed"] * bool(narrowed),
    ]
    values = {"near": ", ".join(near), "n": 0, "narrowed": ", ".join(narrowed or ())}
    expected = tuple(lines[key].format(**values) for key in keys)
    assert evaluation_scope(groups, (), narrowed) == expected
