"""README.md is checked like code: what it shows has to be what the program says and does."""

import ast
import importlib
import inspect
import re
import shlex
from fractions import Fraction
from pathlib import Path

import pytest
import typer

from deniability import errors
from deniability.cli import failure, verification
from deniability.cli.app import make_app
from deniability.cli.attribute import ATTRIBUTION_CODES
from deniability.cli.prove import NARROWED_CODE, VERDICT_CODES
from deniability.generators.options import parse_config
from deniability.report.wording import CAVEATS, numbers
from deniability.stats.binomial import (
    conformal_p,
    decimal_up,
    detection_probability,
    upper_bound,
    upper_bound_at_most,
)
from deniability.stats.sentence import finding_sentence
from deniability.wire.exclusion import ExactFraction, Exclusion, FamilyFinding, Finding
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import DEFAULT_PRESET, PRESETS

ROOT = Path(__file__).resolve().parent.parent
APP = make_app()
TEXT = (ROOT / "README.md").read_text("utf-8")
FENCES = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
PROSE = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
INLINE = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", PROSE)]
#: What the terminals show, unfolded, with every digest written alike.
SHOWN = re.sub(
    r"sha256:[0-9a-f]{8}…",
    "sha256:DIGEST",
    " ".join(" ".join(body for name, body in FENCES if name == "console").split()),
)
COMMANDS = [
    line.removeprefix("$ ")
    for name, body in FENCES
    if name == "console"
    for line in body.splitlines()
    if line.startswith("$ ")
]
DENY = [line for line in COMMANDS if line.startswith("deny ")]
LOSSLESS = ObservationKind(
    family="lossless", channels=1, height=28, width=28, model_channels=1, rounding="round"
)
QUICK = PRESETS["pristine-quick-v1"]


def shipped():
    """Presets of the program, without those that other tests of this process add."""
    return {name: p for name, p in PRESETS.items() if not name.startswith("test-")}


def table(heading):
    """Return the rows, without header, of the table whose header begins with `heading`."""
    found = re.search(rf"^\| {re.escape(heading)} .*\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert found, heading
    rows = [line.strip("|").split("|") for line in found[1].splitlines()]
    return [[cell.strip().replace("`", "") for cell in row] for row in rows]


def resolve(words):
    """Parse a command line as the program would, without running it; return what it names."""
    command = typer.main.get_command(APP)
    context = command.make_context("deny", list(words), resilient_parsing=False)
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(
            context, [*getattr(context, "_protected_args", ()), *context.args]
        )
        context = command.make_context(name, list(rest), parent=context)
    return command, context


def all_commands(group=None, prefix=()):
    """Yield every command with its words."""
    for name, command in (group or typer.main.get_command(APP)).commands.items():
        if hasattr(command, "commands"):
            yield from all_commands(command, (*prefix, name))
        else:
            yield (*prefix, name), command


ALL = dict(all_commands())
OPTIONS = {option for command in ALL.values() for p in command.params for option in p.opts}


def test_there_is_something_to_check():
    assert len(DENY) >= 8
    assert {name for name, _ in FENCES} == {"console", "toml", "python"}
    assert TEXT.count("```") == 2 * len(FENCES)


# Commands


@pytest.mark.parametrize("line", DENY)
def test_a_command_shown_is_one_that_the_program_takes(line):
    resolve(shlex.split(line)[1:])


@pytest.mark.parametrize("line", [code for code in INLINE if code.startswith("deny ")])
def test_a_command_in_the_text_exists_with_its_options(line):
    words = shlex.split(line)[1:]
    found = next((c for name, c in ALL.items() if tuple(words[: len(name)]) == name), None)
    assert found is not None, line
    known = {option for parameter in found.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


def test_every_option_named_in_the_text_exists():
    named = {code.split()[0] for code in INLINE if code.startswith("--")}
    assert named
    assert named <= OPTIONS


def test_every_command_is_documented():
    words = set(re.findall(r"[a-z]+", " ".join([*INLINE, *COMMANDS])))
    assert {name[0] for name in ALL} <= words


def test_other_commands_name_files_that_exist():
    for line in set(COMMANDS) - set(DENY):
        words = shlex.split(line)
        assert words[0] in {"python", "cd"}, line
        assert (ROOT / words[1]).exists(), line


def test_every_target_of_make_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^ {4}make ([a-z]+)", TEXT, re.MULTILINE))
    named |= {code.split()[1] for code in INLINE if code.startswith("make ")}
    assert {"demo", "test", "bench", "check", "help"} <= named <= targets


# Tables


def test_the_presets_are_those_of_the_program():
    rows = table("preset")
    assert [row[0] for row in rows] == list(shipped())
    for name, n, alpha, most, kappa, restarts, full in rows:
        protocol = PRESETS[name]
        share, k, m = Fraction(alpha), int(most), int(full.removeprefix("--replay "))
        assert int(n) == protocol.controls
        assert alpha == protocol.alpha
        assert kappa == protocol.kappa
        assert int(restarts) == protocol.restarts
        confidence = Fraction(protocol.confidence)
        assert upper_bound_at_most(k, protocol.controls, share, confidence)
        assert not upper_bound_at_most(k + 1, protocol.controls, share, confidence)
        assert m == 3 / share
        assert detection_probability(m, share) >= confidence
    assert f"The default is `{DEFAULT_PRESET}`" in TEXT


def test_the_numbers_of_the_rule_are_those_of_every_preset():
    rule = " ".join(PROSE.split())
    for protocol in shipped().values():
        assert f"with {Fraction(protocol.confidence) * 100} % confidence" in rule
        assert f"κ = {protocol.kappa} times" in rule
        assert f"at least {Fraction(protocol.recall) * 100} % of the controls" in rule


def exit_codes_of_errors():
    kinds = [errors.DeniabilityError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    # Tests may define kinds of their own.
    return {kind.exit_code for kind in kinds if kind.__module__.startswith("deniability.")}


def test_the_exit_codes_are_those_of_the_program():
    rows = {int(code): meaning for code, meaning in table("code")}
    others = {
        failure.BUG,
        failure.INTERRUPTED,
        failure.PIPE_CLOSED,
        *VERDICT_CODES.values(),
        NARROWED_CODE,
    }
    assert set(rows) == {0} | others | exit_codes_of_errors()
    for verdict, code in VERDICT_CODES.items():
        assert f"prove: {verdict}" in rows[code]
    assert rows[errors.VerificationError.exit_code] == "verification failed"
    assert rows[errors.UncheckedError.exit_code].startswith("could not be checked")


def test_the_exit_codes_of_attribute_are_those_of_the_program():
    rows = {int(code): meaning for code, meaning in table("code")}
    for verdict, code in ATTRIBUTION_CODES.items():
        assert verdict in rows[code].split("attribute: ")[1]
        assert f"`{verdict}`" in TEXT


def test_the_levels_are_those_of_the_program():
    assert [row[0] for row in table("level")] == [
        level.value.upper() for level in verification.Level
    ]


# Examples


@pytest.mark.parametrize("body", [body for name, body in FENCES if name == "toml"])
def test_an_example_of_a_description_is_one(body):
    options = parse_config(body.encode(), "README.md")
    assert options.latent or options.factory


def test_the_first_description_is_complete():
    first = next(body for name, body in FENCES if name == "toml")
    options = parse_config(first.encode(), "README.md")
    (part,) = options.latent
    assert part.shape
    assert part.prior
    assert options.output_range
    assert options.entropy_source


def test_the_python_example_fits_the_program():
    (body,) = (body for name, body in FENCES if name == "python")
    tree = ast.parse(body)
    compile(tree, "README.md", "exec")
    names = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            names |= {alias.name: getattr(module, alias.name) for alias in node.names}
    called = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            called.add(node.func.id)
            given = [object() for _ in node.args], {k.arg: object() for k in node.keywords}
            inspect.signature(names[node.func.id]).bind(*given[0], **given[1])
    assert called == set(names)
    # The last line prints what the quickstart prints, and that one is run.
    quickstart = (ROOT / "examples" / "quickstart.py").read_text()
    assert body.splitlines()[-1] in quickstart


# Links


@pytest.mark.parametrize(
    "target", sorted({t for t in re.findall(r"\]\(([^)\s]+)\)", TEXT) if "://" not in t})
)
def test_a_link_leads_somewhere(target):
    path, _, heading = target.partition("#")
    assert (ROOT / path).resolve().is_relative_to(ROOT)
    assert (ROOT / path).exists()
    assert not heading


# Transcripts


@pytest.mark.parametrize(
    ("verdict", "exactly"), [("excluded", False), ("reached", True)], ids=["excluded", "reached"]
)
def test_the_findings_shown_are_worded_as_the_program_words_them(verdict, exactly):
    sentence = finding_sentence(
        verdict,
        kind=LOSSLESS,
        model_digest="DIGEST",
        protocol=QUICK,
        pixel_for_pixel=exactly,
        failed=(),
    )
    assert sentence in SHOWN


def test_every_finding_shown_is_a_whole_sentence_of_the_program():
    begun = re.findall(r"(?:Excluded|Reached|Inconclusive): [^.]*", SHOWN)
    assert len(begun) == 3
    for text in begun:
        assert "the model sha256:DIGEST" in text


def test_the_numbers_shown_are_written_as_the_program_writes_them():
    k, n, recovered = map(
        int,
        re.search(r"controls (\d+) of (\d+) lie .*? recall (\d+) of", SHOWN).groups(),
    )
    decimal = r"\d\.\d{5}e[+-]\d\d"
    statistic, threshold, margin = re.search(
        rf"residual ({decimal}); reached at ({decimal}) or less, different from ({decimal}) on",
        SHOWN,
    ).groups()
    p = conformal_p(k, n)
    family = FamilyFinding.model_construct(
        family="lossless",
        n=n,
        k=k,
        alpha=QUICK.alpha,
        upper_bound=decimal_up(upper_bound(k, n, Fraction(QUICK.confidence)), 6),
        p=ExactFraction(numerator=p.numerator, denominator=p.denominator),
        statistic=statistic,
        threshold=threshold,
        margin=margin,
        recovered=recovered,
        gates=(),
    )
    finding = Finding.model_construct(
        verdict="excluded", tier="calibrated", families=(family,), reached=None
    )
    for name, text in numbers(Exclusion.model_construct(protocol=QUICK, finding=finding)):
        assert f"{name} {text}" in SHOWN
    assert n == QUICK.controls
    assert Fraction(statistic) >= Fraction(margin)


def test_the_caveats_are_shown_as_the_program_gives_them():
    for caveat in CAVEATS:
        assert f"note {caveat}" in SHOWN
    assert verification.FIRST_LINES[verification.Level.V2] in SHOWN


def test_the_demo_is_told_in_its_own_words():
    from deniability.report.demo import PLAN

    told = [plan for plan in PLAN if plan.heading in SHOWN]
    assert {plan.expected for plan in told} == {"excluded", "reached"}
    for plan in told:
        number = PLAN.index(plan) + 1
        assert f"{number}. {plan.heading} {plan.story}" in SHOWN


def test_the_replay_shown_follows_from_its_numbers():
    m, j = map(
        int,
        re.search(r"(\d+) fresh controls .*? found again, (\d+) with a residual", SHOWN).groups(),
    )
    bound = decimal_up(upper_bound(j, QUICK.controls + m, Fraction(QUICK.confidence)), 6)
    assert f"the bound is {bound} (allowed {QUICK.alpha})" in SHOWN
    seen = float(detection_probability(m, Fraction(QUICK.alpha)))
    assert f"with probability {seen:.4f}. This is a full check." in SHOWN


# Words


@pytest.mark.parametrize("word", ["innocent", "impossible", "authentic picture", "guarantee"])
def test_nothing_is_claimed_that_cannot_be_shown(word):
    assert word not in " ".join(TEXT.lower().split())


def test_what_is_not_shown_comes_before_how_it_is_used():
    headings = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    assert headings[0] == "What this does not prove"
    section = TEXT.split("## What this does not prove")[1].split("\n## ")[0]
    for fact in ("Edited outputs", "deployed", "timestamps", "random outputs", "Backdoors"):
        assert fact in section
    assert "nothing on this page is legal advice" in " ".join(TEXT.split())
