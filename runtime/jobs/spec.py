"""A job as it is asked for: one instruction on one desktop, with its limits. From a TOML file, flags, or both.

    desktop = "tls://10.0.0.7:7461"             # where to work
    instruction = "Send the report to Ann."     # or a list, one job each, in this order:  tasks = ["…", "…"]
    agent = "block_clicker"                     # who works; `model` is its bundle: name, name@1.4, name@>=1.2,<2
    priority = 5                                # higher goes first; equal priorities go by age
    deadline_s = 3600                           # over by then, counted from the submission, or failed
    idempotency_key = "report-2031-05-01"       # the same key submits the same job only once
    [limits]
    max_actions = 200
    [labels]
    customer = "acme"

`spec_fields()` is the table of all fields, from the types below.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from runtime.errors import RuntimeFault
from runtime.store.versions import RANGE
from runtime.transport.dial import shown

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SPEC_VERSION = 3  # 2: `needs`, `variants`, `retries`; 3: `verification`, `needs.other_than`
SPEC_FILE_CAP_BYTES = 1 << 20
_PLACE = r"^([a-z0-9][a-z0-9_-]*)?\Z"
_MODEL = rf"^([a-z0-9][a-z0-9._-]*(@([0-9A-Za-z][0-9A-Za-z.+-]*|{RANGE}))?)?\Z"
_BUNDLE = "a bundle: name, name@version or name@>=1.2,<2"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z"


class SpecError(RuntimeFault):
    """A job file or a job's flags have a field that does not exist, a wrong type, or a value out of its range."""

    next_step: ClassVar[str] = "correct it and submit again; no job was made"


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a job is stopped and failed, whatever it is doing. `max_s` counts one run, not the waiting between runs."""

    max_actions: Annotated[int, Meta(ge=1, le=1_000_000, description="actions applied, over all runs")] = 500
    max_s: Annotated[float, Meta(ge=1, le=86_400, description="seconds of one run")] = 600.0
    action_ms: Annotated[
        float, Meta(ge=1, le=600_000, description="a decision is promised within this; by default 8 times a person")
    ] = 331.0


class Needs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a car must have to be given the job. Empty means any."""

    region: Annotated[
        str, Meta(pattern=_PLACE, max_length=32, description="a region of the fleet, such as eu-west")
    ] = ""
    device: Annotated[str, Meta(pattern=_PLACE, max_length=32, description="a device class, such as orin-64")] = ""
    memory_MiB: Annotated[int, Meta(ge=0, le=1_048_576, description="MiB free for models")] = 0
    plugged_in: Annotated[bool, Meta(description="only while the car is charging or connected")] = False
    other_than: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=128)], ...],
        Meta(max_length=16, description="cars of a fleet that are not given the job"),
    ] = ()


class Verification(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a fleet may check the car that did the job: only by having another car do it again."""

    repeatable: Annotated[
        bool, Meta(description="a test desktop: it begins every session the same, and the job may be done again")
    ] = False
    rate: Annotated[float, Meta(ge=0, le=1, description="the least share of such jobs that is checked")] = 0.0


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One arm of an experiment: which bundle works, and its share of the jobs."""

    model: Annotated[
        str,
        Meta(pattern=_MODEL, min_length=1, max_length=128, description=_BUNDLE),
    ]
    share: Annotated[float, Meta(gt=0, le=1e6, description="its weight among the variants")] = 1.0


class JobSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One job. Immutable from its submission on; stored and sent as MessagePack with the names below."""

    desktop: Annotated[
        str,
        Meta(
            pattern=r"^(unix:/.+|tls://[^/\s]+:[0-9]+|relay://[^/\s]+:[0-9]+/[0-9A-Fa-f]{32,128})\Z",
            max_length=512,
            description="unix:/path, tls://host:port or relay://host:port/TOKEN",
        ),
    ]
    instruction: Annotated[str, Meta(min_length=1, max_length=8192, description="what to do, in a person's words")]
    version: Annotated[int, Meta(ge=1, le=SPEC_VERSION, description="version of this form")] = SPEC_VERSION
    agent: Annotated[str, Meta(pattern=_NAME, max_length=64, description="an agent's kind, such as block_clicker")] = (
        "block_clicker"
    )
    model: Annotated[
        str,
        Meta(
            pattern=_MODEL,
            max_length=128,
            description=_BUNDLE,
        ),
    ] = ""
    variants: Annotated[
        tuple[Variant, ...],
        Meta(max_length=64, description="instead of `model`: one of them by the job's name, at its share"),
    ] = ()
    retries: (
        Annotated[int, Meta(ge=0, le=100, description="faults after which it fails; default: the store's")] | None
    ) = None
    token: Annotated[str, Meta(max_length=512, description="what the desktop asks for, besides the certificate")] = ""
    priority: Annotated[int, Meta(ge=-100, le=100, description="higher goes first")] = 0
    deadline_s: Annotated[float, Meta(ge=0.001, le=31_536_000, description="seconds from the submission")] | None = None
    limits: Limits = Limits()
    needs: Needs = Needs()
    verification: Verification = Verification()
    idempotency_key: Annotated[str, Meta(max_length=256, description="the same key is the same job")] = ""
    labels: Annotated[
        dict[Annotated[str, Meta(min_length=1, max_length=64)], Annotated[str, Meta(max_length=256)]],
        Meta(max_length=32, description="for the submitter's own use"),
    ] = {}

    def __repr__(self) -> str:
        """Shows no token and no instruction: a spec is logged, and what it says is the customer's."""
        return (
            f"JobSpec(desktop={shown(self.desktop)!r}, agent={self.agent!r}, "
            f"model={self.model!r}, priority={self.priority})"
        )

    def assigned(self, job: str) -> JobSpec:
        """Returns the job as it is worked under its name: with the model of its variant. The same name, the same one.

        The share of [0, 1) that a name falls upon is its SHA-256; so neither stores nor restarts change an experiment.
        """
        if not self.variants or self.model:
            return self
        point = int.from_bytes(hashlib.sha256(job.encode()).digest()[:8], "big") / 2**64
        point *= sum(variant.share for variant in self.variants)
        for variant in self.variants:
            point -= variant.share
            if point < 0:
                break
        return msgspec.structs.replace(self, model=variant.model)

    def encode(self) -> bytes:
        """Returns the stored and sent form."""
        return msgspec.msgpack.encode(self)

    @staticmethod
    def decode(data: bytes) -> JobSpec:
        """Reads `encode`'s form. Raises SpecError for anything else, a later version included."""
        try:
            return msgspec.msgpack.decode(data, type=JobSpec)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SpecError(f"this is no job of version {SPEC_VERSION}: {error}") from error


PARTS: tuple[type[msgspec.Struct], ...] = (
    Limits,
    Needs,
    Verification,
)  # the tables within a job, under their names in small letters


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
    tasks = fields.pop("tasks", None)
    if tasks is None:
        return (_build(fields, where),)
    if "instruction" in fields:
        raise SpecError(f"{where}: there are both `instruction` and `tasks`, expected one of them")
    if not isinstance(tasks, list | tuple) or not tasks or not all(isinstance(task, str) for task in tasks):
        raise SpecError(f"{where}: tasks must be a list of at least one text, got {_short(tasks)}")
    key = fields.get("idempotency_key")
    specs = []
    for number, task in enumerate(tasks, 1):
        keyed = {"idempotency_key": f"{key}#{number}"} if isinstance(key, str) and key else {}
        specs.append(_build({**fields, "instruction": task, **keyed}, f"{where}: tasks[{number - 1}]"))
    return tuple(specs)


def spec_fields() -> list[tuple[str, str, str]]:
    """Returns (dotted name, what may stand there, what it is) of every field, in order, as for `submit --help`."""
    return [*_describe(JobSpec, ""), ("tasks", "a list of texts", "instead of `instruction`: one job each")]


def _describe(shape: type[msgspec.Struct], prefix: str) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    for field in msgspec.structs.fields(shape):
        if field.type in PARTS:
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
        return f"{words} from {rule.ge:g} to {rule.le:.10g}"
    if isinstance(rule, msgspec.inspect.StrType):
        return f"a text of {rule.min_length or 0} to {rule.max_length} characters"
    if isinstance(rule, msgspec.inspect.BoolType):
        return "true or false"
    if isinstance(rule, msgspec.inspect.VarTupleType):
        is_text = not isinstance(rule.item_type, msgspec.inspect.StructType)
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
    for part in PARTS:
        name = part.__name__.lower()
        inner = fields.get(name, {})
        if isinstance(inner, Mapping):
            _refuse_unknown(inner, part, where, f"{name}.", [])
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
