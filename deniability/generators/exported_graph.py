"""The description inside a `.pt2`, checked string by string and stripped to what a network needs.

`torch.export.load` trusts its file: beside unpickling, it evaluates size expressions as Python
(through sympy), imports modules named in tree descriptions, looks targets up by name in all of
torch, executes guard code, and pastes names into generated source. So the description is not
searched for what is bad; every string must fit a rule for its field, every operator must be a
tensor operator of torch's own, and all fields that a network does not need are emptied.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from typing import Any

import torch

from deniability.errors import GeneratorError
from deniability.generators.base import last_line

#: Function names that may stand in a size expression.
EXPRESSION_NAMES = frozenset(
    {
        "Symbol",
        "Integer",
        "Float",
        "Rational",
        "Add",
        "Mul",
        "Pow",
        "Max",
        "Min",
        "Abs",
        "Eq",
        "Ne",
        "Lt",
        "Le",
        "Gt",
        "Ge",
        "And",
        "Or",
        "Not",
        "Equality",
        "Unequality",
        "LessThan",
        "StrictLessThan",
        "GreaterThan",
        "StrictGreaterThan",
        "FloorDiv",
        "ModularIndexing",
        "Where",
        "PythonMod",
        "Mod",
        "CleanDiv",
        "CeilToInt",
        "FloorToInt",
        "CeilDiv",
        "LShift",
        "RShift",
        "PowByNatural",
        "FloatPow",
        "FloatTrueDiv",
        "IntTrueDiv",
        "IsNonOverlappingAndDenseIndicator",
        "TruncToFloat",
        "TruncToInt",
        "RoundToInt",
        "RoundDecimal",
        "ToFloat",
        "Identity",
    }
)
#: Properties of a symbol that may stand in one.
_ASSUMPTIONS = frozenset(
    {"positive", "negative", "nonnegative", "nonzero", "integer", "real", "precision", "evaluate"}
)
#: Arithmetic on sizes.
SIZE_OPERATORS = frozenset(
    {
        *(
            f"_operator.{name}"
            for name in (
                *("add", "sub", "mul", "floordiv", "truediv", "mod", "pow", "neg", "pos"),
                *("eq", "ne", "lt", "le", "gt", "ge", "and_", "or_", "getitem"),
            )
        ),
        *(f"math.{name}" for name in ("ceil", "floor", "trunc")),
        *(f"torch.sym_{name}" for name in ("int", "float", "max", "min", "ite", "not", "sum")),
    }
)
# Fields that carry programmes, objects or subgraphs rather than tensors and sizes.
_FORBIDDEN_FIELDS = frozenset(
    {"as_graph", "as_graphs", "as_custom_obj", "as_operator", "custom_obj", "token", "class_fqn"}
)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUALIFIED = re.compile(r"(?!__)[A-Za-z0-9_]+(\.(?!__)[A-Za-z0-9_]+)*")
_SYMBOL = re.compile(r"[suz]+f?[0-9]+")
_NUMBER = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?(e[+-]?[0-9]{1,3})?")
_OPERATOR = re.compile(r"torch\.ops\.aten\.([A-Za-z0-9_]+)\.([A-Za-z][A-Za-z0-9_]*)")
_PLAIN = re.compile(r"[^\x00-\x1f\x7f]{0,500}")


def clean_program(text: str, *, where: str, device: torch.device) -> dict[str, Any]:
    """Check `models/model.json` and return it without what a network does not need.

    Args:
        text: the record.
        where: the file and record, for messages.
        device: what every device in it becomes.

    Raises GeneratorError at the first thing that could be more than tensors and sizes.

    """
    program = parse_json(text, where)
    graph_module = _table(program.get("graph_module"), where, "graph_module")
    graph = _table(graph_module.get("graph"), where, "graph")
    nodes = graph.get("nodes")
    entries = graph_module.get("module_call_graph")
    if not isinstance(nodes, list) or not isinstance(entries, list) or not entries:
        raise _damaged(where, "nodes")
    for node in nodes:
        # Traces of the source and of the module tree; generated code would quote them.
        _table(node, where, "nodes")["metadata"] = {}
    program["guards_code"] = []
    graph_module["metadata"] = {}
    graph_module["treespec_namedtuple_fields"] = {}
    graph_module["module_call_graph"] = entries[:1]
    _check(program, "", where)
    moved: dict[str, Any] = _moved(program, device)
    return moved


def clean_payload(text: str, *, prefix: str, where: str, device: torch.device) -> dict[str, Any]:
    """Check a list of weights or constants: each must be raw bytes named `prefix` and a number.

    Raises GeneratorError if one of them is a pickle, a custom object or an opaque object.
    """
    config = parse_json(text, where)
    for name, meta in _table(config.get("config"), where, "config").items():
        entry = _table(meta, where, name)
        path = entry.get("path_name")
        plain = isinstance(path, str) and re.fullmatch(prefix + "[0-9]{1,9}", path)
        if entry.get("use_pickle") is not False or not plain:
            raise GeneratorError(
                "a tensor in the .pt2 is stored as a pickle or as a custom object",
                where=where,
                expected="plain tensors, stored as raw bytes",
                found=repr(name)[:200],
                hint=(
                    "Opening it could run code. Where the model was made, turn tensor subclasses "
                    "and custom objects into plain tensors and export it again."
                ),
            )
        _check({name: {**entry, "path_name": ""}}, "", where)
    moved: dict[str, Any] = _moved(config, device)
    return moved


def parse_json(text: str, where: str) -> dict[str, Any]:
    """Return a JSON object. Raises GeneratorError if it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GeneratorError(
            "a damaged .pt2", where=where, expected="JSON", found=last_line(error)
        ) from error
    return _table(value, where, "the whole")


def _check(value: Any, field: str, where: str) -> None:
    """Walk the description; every string must pass the rule of its field."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in _FORBIDDEN_FIELDS:
                raise _unexpected(where, name, "objects and subgraphs are not tensors")
            if not (_QUALIFIED.fullmatch(name) or _IDENTIFIER.fullmatch(name)):
                raise _unexpected(where, name, "the name has odd characters")
            _check(inner, name, where)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, field, where)
    elif isinstance(value, str):
        rule = _RULES.get(field)
        if rule is None or not rule(value):
            raise _unexpected(where, field, repr(value)[:200])


def _is_expression(value: str) -> bool:
    """Accept arithmetic on size symbols, as Python's own parser reads it.

    Whatever else a string might do when sympy evaluates it (attributes, subscripts, lambdas, other
    functions), it has no node that is allowed here.
    """
    if len(value) > 5000:
        return False
    try:
        tree = ast.parse(value, mode="eval")
        return _is_arithmetic(tree.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _is_arithmetic(node: ast.expr) -> bool:
    inner: list[ast.expr]
    match node:
        case ast.Constant(value=bool() | int() | float()):
            inner = []
        case ast.Name(id=name) if _SYMBOL.fullmatch(name):
            inner = []
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not(), operand=operand):
            inner = [operand]
        case ast.BinOp(left=left, right=right):
            inner = [left, right]
        case ast.Compare(left=left, comparators=others):
            inner = [left, *others]
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if (
            name in EXPRESSION_NAMES and all(map(_is_assumption, keywords))
        ):
            inner = [argument for argument in args if not _is_quoted(argument)]
        case _:
            return False
    return all(map(_is_arithmetic, inner))


def _is_assumption(keyword: ast.keyword) -> bool:
    """Accept positive=True and the like."""
    value = keyword.value
    return (
        keyword.arg in _ASSUMPTIONS
        and isinstance(value, ast.Constant)
        and isinstance(value.value, (bool, int))
    )


def _is_quoted(node: ast.expr) -> bool:
    """Accept 's0' in Symbol('s0') and '0.5' in Float('0.5'), as sympy writes them."""
    match node:
        case ast.Constant(value=str(text)):
            return bool(_SYMBOL.fullmatch(text) or _NUMBER.fullmatch(text))
    return False


def _is_operator(value: str) -> bool:
    """Accept tensor operators of torch's own namespace that take no file name."""
    if value in SIZE_OPERATORS:
        return True
    match = _OPERATOR.fullmatch(value)
    if match is None or match.group(1).startswith("__") != match.group(1).endswith("__"):
        return False
    packet = getattr(torch.ops.aten, match.group(1), None)
    overload = getattr(packet, match.group(2), None)
    if not isinstance(overload, torch._ops.OpOverload):  # noqa: SLF001 -- its only name
        return False
    return all(argument.name != "filename" for argument in overload._schema.arguments)  # noqa: SLF001


def _is_tree(value: str) -> bool:
    """Accept tree descriptions made of tuples, lists and dictionaries without names."""
    try:
        protocol, root = json.loads(value)
    except (ValueError, TypeError, RecursionError):
        return False
    return protocol == 1 and _is_plain_tree(root, 0)


def _is_plain_tree(node: Any, depth: int) -> bool:
    if not isinstance(node, dict) or set(node) != {"type", "context", "children_spec"}:
        return False
    children = node["children_spec"]
    return (
        depth < 16
        and node["type"] in {None, "builtins.tuple", "builtins.list", "builtins.dict"}
        and node["context"] in {None, "null", "[]"}
        and isinstance(children, list)
        and all(_is_plain_tree(child, depth + 1) for child in children)
    )


def _matches(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda value: pattern.fullmatch(value) is not None


#: The rule for each field that may hold a string; all other fields may not.
_RULES: dict[str, Callable[[str], bool]] = {
    "name": lambda value: value == "" or _IDENTIFIER.fullmatch(value) is not None,
    "as_name": _matches(_IDENTIFIER),
    "forward_arg_names": _matches(_IDENTIFIER),
    "parameter_name": _matches(_QUALIFIED),
    "buffer_name": _matches(_QUALIFIED),
    "tensor_constant_name": _matches(_QUALIFIED),
    "fqn": lambda value: value == "",
    "target": _is_operator,
    "expr_str": _is_expression,
    "in_spec": _is_tree,
    "out_spec": _is_tree,
    "type": _matches(re.compile(r"[a-z]{1,20}")),
    "as_string": _matches(_PLAIN),
    "as_strings": _matches(_PLAIN),
    "verifiers": _matches(re.compile(r"[A-Z_]{0,40}")),
    "torch_version": _matches(_PLAIN),
    "path_name": lambda value: value == "",
}


def _moved(value: Any, device: torch.device) -> Any:
    """Return the description with every device replaced by `device`, and no gradients asked for."""
    if isinstance(value, dict):
        if set(value) == {"type", "index"}:
            return {"type": device.type, "index": device.index}
        return {
            name: False if name == "requires_grad" else _moved(inner, device)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_moved(inner, device) for inner in value]
    return value


def _table(value: Any, where: str, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _damaged(where, field)
    return value


def _damaged(where: str, field: str) -> GeneratorError:
    return GeneratorError("a damaged .pt2", where=where, expected=f"a description with {field!r}")


def _unexpected(where: str, field: str, found: str) -> GeneratorError:
    return GeneratorError(
        "the .pt2 describes something else than tensors, sizes and torch's own operators",
        where=where,
        expected=f"a plain value in the field {field[:100]!r}",
        found=found,
        hint=(
            "Opening it could run code. Export the network alone, in evaluation mode and without "
            "custom operators or control flow."
        ),
    )
