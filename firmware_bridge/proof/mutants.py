"""Mutation testing of policy and machine: each small change of their source must be seen by the battery.

A mutant that survives is either a hole in the battery or equivalent to the original; the equivalent ones are listed
here, each with the reason. (commaai/panda tests its safety code so.)
"""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType

from firmware_bridge import machine, policy
from firmware_bridge.proof import battery

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}

# (the mutated line after, stripped) -> why nothing can tell it from the original.
_ROUNDED = "the sixth decimal of a limit is far below any sensor's step"
_DATED = "evaluate() dates every reason before anyone sees it"
EQUIVALENT: dict[str, str] = {
    "reopen = min(round(limit + hysteresis, 7), highest)": _ROUNDED,
    "reopen = round(limit - hysteresis, 7)": _ROUNDED,
    "spans = tuple(((float(begin), math.nextafter(end, 1)) for begin, end in policy.owner.spans()))": (
        "an end is at least minute 1, and the next number towards 1 is the one towards 0"
    ),
    "since_ns: int = 1": _DATED,
}


@dataclass(slots=True)
class Report:
    """`survivors` are holes: "policy.py:123: before  ->  after"."""

    total: int = 0
    killed: int = 0
    equivalent: list[str] = field(default_factory=list)
    survivors: list[str] = field(default_factory=list)


def run(*, limit: int | None = None) -> Report:
    """Runs every mutant (or the first `limit` of each module) through the battery."""
    report = Report()
    for module in (policy, machine):
        tree = ast.parse(inspect.getsource(module))
        for number, (mutant, line) in enumerate(_mutants(tree)):
            if limit is not None and number >= limit:
                break
            report.total += 1
            after = ast.unparse(mutant).splitlines()
            before = ast.unparse(tree).splitlines()
            changed = next((new for old, new in zip(before, after, strict=False) if old != new), after[-1]).strip()
            if _is_killed(module, mutant):
                report.killed += 1
            elif changed in EQUIVALENT:
                report.equivalent.append(f"{changed}  ({EQUIVALENT[changed]})")
            else:
                report.survivors.append(f"{module.__name__}:{line}: {changed}")
    return report


def _is_killed(module: ModuleType, mutant: ast.Module) -> bool:
    changed = ModuleType(module.__name__)
    try:
        exec(compile(mutant, f"<mutant of {module.__name__}>", "exec"), changed.__dict__)
        modules = (changed, machine) if module is policy else (policy, changed)
        return bool(battery.run(*modules, pairs=False, most=1).violations)
    except Exception:  # noqa: BLE001 - whatever it is, the gate is closed by it
        return True


def _mutants(tree: ast.Module) -> Iterator[tuple[ast.Module, int]]:
    """Yields (changed tree, line) for each single change."""
    for index, node in enumerate(ast.walk(tree)):
        if _is_left_alone(tree, node):
            continue
        for change in range(_changes(node)):
            mutant = copy.deepcopy(tree)
            _apply(list(ast.walk(mutant))[index], change)
            yield ast.fix_missing_locations(mutant), getattr(node, "lineno", 0)


def _is_left_alone(tree: ast.Module, node: ast.AST) -> bool:
    """Decorators and annotations carry no behaviour that the gate has."""
    for owner in ast.walk(tree):
        parts: list[ast.AST] = []
        if isinstance(owner, ast.ClassDef | ast.FunctionDef):
            parts += owner.decorator_list
        if isinstance(owner, ast.AnnAssign):
            parts.append(owner.annotation)
        if any(node is each for part in parts for each in ast.walk(part)):
            return True
    return False


def _changes(node: ast.AST) -> int:
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        return len(_COMPARISONS[type(node.ops[0])])
    if isinstance(node, ast.Compare):
        return len(node.ops)
    if isinstance(node, ast.BoolOp):
        return 1 + len(node.values)
    if isinstance(node, ast.UnaryOp):
        return 1
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        return 1
    if isinstance(node, ast.IfExp):
        return 1
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS:
        return 1
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        return 1
    if isinstance(node, ast.List | ast.Tuple) and isinstance(node.ctx, ast.Load):
        return (
            len(node.elts) if all(isinstance(each, ast.Call | ast.Attribute | ast.Tuple) for each in node.elts) else 0
        )
    return 0


def _apply(node: ast.AST, change: int) -> None:
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        node.ops[0] = _COMPARISONS[type(node.ops[0])][change]()
    elif isinstance(node, ast.Compare):
        node.ops[change] = _COMPARISONS[type(node.ops[change])][0]()
    elif isinstance(node, ast.BoolOp):
        if change == 0:
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        else:
            del node.values[change - 1]
            if len(node.values) == 1:
                node.values.append(copy.deepcopy(node.values[0]))
    elif isinstance(node, ast.UnaryOp):
        node.op = ast.UAdd() if isinstance(node.op, ast.USub) else ast.Not()
        if isinstance(node.op, ast.Not):  # not x -> not not x
            node.operand = ast.UnaryOp(ast.Not(), node.operand)
    elif isinstance(node, ast.BinOp):
        node.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
    elif isinstance(node, ast.IfExp):
        node.body, node.orelse = node.orelse, node.body
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        node.func.id = _CALLS[node.func.id]
    elif isinstance(node, ast.Constant):
        node.value = not node.value if isinstance(node.value, bool) else node.value + 1  # type: ignore[operator]
    elif isinstance(node, ast.List | ast.Tuple):
        del node.elts[change]
