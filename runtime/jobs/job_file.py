"""Reads jobs: a TOML file, flags, or both, into specs; every error names the field, what it may be, and what came.

    tree ─► unknown fields refused ─► tasks, or inputs in chunks: one job each ─► JobSpec

`spec_fields()` is the table of all fields, from the types of spec.py.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from runtime.jobs.spec import BATCH_AGENT, BATCH_CAP, BATCH_CAP_BYTES, PARTS, Batch, JobSpec, SpecError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SPEC_FILE_CAP_BYTES = 1 << 20
INPUTS_FILE_CAP_BYTES = 1 << 30
CHUNK = 100


def load_jobs(path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> tuple[JobSpec, ...]:
    """Returns the jobs of a TOML file: one, or one a task of its `tasks` in order.

    `overrides` are flags that go first, by dotted name ("limits.max_s"). Raises SpecError: cannot be read, not TOML,
    and as `parse_jobs` does.
    """
    try:
        if os.stat(path).st_size > SPEC_FILE_CAP_BYTES:
            raise SpecError(f"{path} has more than {SPEC_FILE_CAP_BYTES} bytes, this is no job file")
        tree = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SpecError(f"there is no job file {path}", next_step="create it, or give flags instead") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SpecError(f"{path} is not TOML: {error}") from error
    return parse_jobs(tree, where=str(path), overrides=overrides)


def parse_jobs(
    tree: Mapping[str, Any], *, where: str, overrides: Mapping[str, Any] | None = None
) -> tuple[JobSpec, ...]:
    """Returns the jobs of a tree of plain values; `where` names its origin in errors ("flags", a file).

    Raises SpecError: unknown field (with a suggestion), wrong type or range (where, expected, got), a field missing.
    """
    fields = dict(tree)
    for name, value in (overrides or {}).items():
        _put(fields, name, value, where)
    if "tasks" in fields:
        return tuple(_build(*one) for one in _tasks(fields, where))
    if isinstance(fields.get("batch"), Mapping):
        return tuple(_build(*one) for one in _chunks(fields, where))
    return (_build(fields, where),)


def _tasks(fields: dict[str, Any], where: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields the fields of one job a task, and where they came from."""
    tasks = fields.pop("tasks")
    if "instruction" in fields:
        raise SpecError(f"{where}: there are both `instruction` and `tasks`, expected one of them")
    if not isinstance(tasks, list | tuple) or not tasks or not all(isinstance(task, str) for task in tasks):
        raise SpecError(f"{where}: tasks must be a list of at least one text, got {_short(tasks)}")
    for number, task in enumerate(tasks):
        yield {**fields, "instruction": task, **_keyed(fields, number)}, f"{where}: tasks[{number}]"


def _chunks(fields: dict[str, Any], where: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields the fields of one job a chunk of a batch's inputs, which may be in a file of their own."""
    batch = dict(fields["batch"])
    _refuse_unknown(batch, Batch, where, "batch.", ["file", "chunk"])
    chunk = batch.pop("chunk", CHUNK)
    if not isinstance(chunk, int) or isinstance(chunk, bool) or not 1 <= chunk <= BATCH_CAP:
        raise SpecError(f"{where}: batch.chunk must be an integer from 1 to {BATCH_CAP}, got {_short(chunk)}")
    if "file" in batch:
        if "inputs" in batch:
            raise SpecError(f"{where}: there are both `batch.inputs` and `batch.file`, expected one of them")
        batch["inputs"] = _read_inputs(batch.pop("file"), where)
    inputs = batch.get("inputs")
    if not isinstance(inputs, list | tuple) or not inputs:
        raise SpecError(f"{where}: batch.inputs must be a list of at least one table, got {_short(inputs)}")
    fields = {"agent": BATCH_AGENT, **fields}
    cuts = list(_cut(inputs, chunk, where))
    for number, (first, some) in enumerate(cuts):
        keyed, place = (_keyed(fields, number), f"{where}: inputs from {first}") if len(cuts) > 1 else ({}, where)
        yield {**fields, "batch": {**batch, "inputs": some}, **keyed}, place


def _cut(inputs: Sequence[Any], chunk: int, where: str) -> Iterator[tuple[int, list[Any]]]:
    """Yields runs of inputs with the number of their first: at most `chunk`, and no more bytes than a job takes."""
    some: list[Any] = []
    size = first = 0
    for number, one in enumerate(inputs):
        try:
            bytes_ = len(msgspec.msgpack.encode(one))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise SpecError(f"{where}: batch.inputs[{number}] cannot be stored: {error}") from error
        if some and (len(some) == chunk or size + bytes_ > BATCH_CAP_BYTES - 8):
            yield first, some
            some, size, first = [], 0, number
        some.append(one)
        size += bytes_
    yield first, some


def _keyed(fields: Mapping[str, Any], number: int) -> dict[str, str]:
    """Returns the idempotency key of one job of many, none if they have none."""
    key = fields.get("idempotency_key")
    return {"idempotency_key": f"{key}#{number + 1}"} if isinstance(key, str) and key else {}


def _read_inputs(name: Any, where: str) -> list[Any]:
    """Returns the inputs of a file of JSON lines; a relative name is below the job file's folder."""
    if not isinstance(name, str) or not name:
        raise SpecError(f"{where}: batch.file must be a file of JSON lines, got {_short(name)}")
    path = Path(where).parent / name
    try:
        if path.stat().st_size > INPUTS_FILE_CAP_BYTES:
            raise SpecError(f"{where}: batch.file {path} has more than {INPUTS_FILE_CAP_BYTES} bytes")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{where}: batch.file {path} cannot be read: {error}") from error
    found = []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                found.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise SpecError(f"{where}: batch.file {path}, line {number} is not JSON: {error}") from error
    return found


def spec_fields() -> list[tuple[str, str, str]]:
    """Returns (dotted name, what may stand there, what it is) of every field, in order, as for `submit --help`."""
    return [
        *_describe(JobSpec, ""),
        ("batch.file", "a text", "instead of `batch.inputs`: a file of JSON lines, one input each"),
        ("batch.chunk", f"an integer from 1 to {BATCH_CAP}", f"at most so many inputs a job; default: {CHUNK}"),
        ("tasks", "a list of texts", "instead of `instruction`: one job each"),
    ]


def _describe(shape: type[msgspec.Struct], prefix: str) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    for field in msgspec.structs.fields(shape):
        if field.type in PARTS.values():
            rows += _describe(field.type, f"{field.name}.")
        else:
            rule, described = _rule(field.type)
            rows.append((prefix + field.name, _expected(rule), described))
    return rows


def _rule(kind: Any) -> tuple[Any, str]:
    """Returns (the type's rule, its description) with unions with None and annotations taken off."""
    rule, described = msgspec.inspect.type_info(kind), ""
    while True:
        if isinstance(rule, msgspec.inspect.Metadata):
            described = str((rule.extra_json_schema or {}).get("description", "")) or described
            rule = rule.type
        elif isinstance(rule, msgspec.inspect.UnionType):
            rule = next(part for part in rule.types if not isinstance(part, msgspec.inspect.NoneType))
        else:
            return rule, described


def _expected(rule: Any) -> str:
    """Returns a rule in words: "a number from 1 to 86400"."""
    if isinstance(rule, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        words = "an integer" if isinstance(rule, msgspec.inspect.IntType) else "a number"
        lowest = f"from {rule.ge:g}" if rule.ge is not None else f"above {rule.gt:g}"
        return f"{words} {lowest} to {rule.le:.10g}"
    if isinstance(rule, msgspec.inspect.StrType):
        return f"a text of {rule.min_length or 0} to {rule.max_length} characters"
    if isinstance(rule, msgspec.inspect.BoolType):
        return "true or false"
    if isinstance(rule, msgspec.inspect.VarTupleType):
        is_text = not isinstance(rule.item_type, msgspec.inspect.StructType | msgspec.inspect.DictType)
        return "a list of texts" if is_text else "a list of tables"
    return "a table of texts" if isinstance(rule, msgspec.inspect.DictType) else "a table"


def _put(fields: dict[str, Any], name: str, value: Any, where: str) -> None:
    *parents, last = name.split(".")
    for parent in parents:
        inner = fields.get(parent, {})
        if not isinstance(inner, Mapping):
            raise SpecError(f"{where}: {parent} must be a table, got {_short(inner)}")
        fields[parent] = inner = dict(inner)
        fields = inner
    fields[last] = value


def _build(fields: Mapping[str, Any], where: str) -> JobSpec:
    _refuse_unknown(fields, JobSpec, where, "", ["tasks"])
    for name, part in PARTS.items():
        inner = fields.get(name, {})
        if isinstance(inner, Mapping):
            _refuse_unknown(inner, part, where, f"{name}.", [])
    if not isinstance(fields.get("batch"), Mapping):
        for name in ("desktop", "instruction"):
            if name not in fields:
                raise SpecError(f"{where}: {name} is missing, expected {_wanted([name])}")
            if fields[name] == "":
                raise SpecError(f"{where}: {name} is empty, expected {_wanted([name])}")
    try:
        return msgspec.convert(dict(fields), JobSpec)
    except msgspec.ValidationError as error:
        raise SpecError(f"{where}: {_explain(error, fields)}") from error


def _refuse_unknown(
    fields: Mapping[str, Any], shape: type[msgspec.Struct], where: str, prefix: str, also: list[str]
) -> None:
    names = [field.name for field in msgspec.structs.fields(shape)] + also
    for name in fields:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names)}"
            raise SpecError(f"{where}: {prefix}{name} is not a field of a job; {hint}")


def _explain(error: msgspec.ValidationError, fields: Mapping[str, Any]) -> str:
    """Turns msgspec's "Expected … - at `$.limits.max_s`" into field, expected and got, both from the table."""
    missing = re.match(r"Object missing required field `(\w+)`", str(error))
    if missing:
        return f"{missing[1]} is missing, expected {_wanted([missing[1]])}"
    if not str(error).startswith(("Expected", "Invalid")):
        return str(error)  # spec.py's own
    at = re.search(r"`\$\.?(\w*(?:\.\w+)*)", str(error).rpartition(" - at ")[2])
    path = [part for part in at[1].split(".") if part] if at else []
    got: Any = fields
    for part in path:
        got = got[part]
    return f"{'.'.join(path) or 'the job'} must be {_wanted(path)}, got {_short(got)}"


def _wanted(path: list[str]) -> str:
    shape: Any = JobSpec
    for part in path:
        shape = next(field.type for field in msgspec.structs.fields(shape) if field.name == part)
    rule, described = _rule(shape)
    has_pattern = isinstance(rule, msgspec.inspect.StrType) and rule.pattern
    return described if has_pattern else _expected(rule)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
