"""A job as it is asked for: one instruction on one desktop, or a batch of inputs for a model, with its limits.

    desktop = "tls://10.0.0.7:7461"             # where to work
    instruction = "Send the report to Ann."     # or a list, one job each, in this order:  tasks = ["…", "…"]
    agent = "block_clicker"                     # who works; `model` is its bundle: name, name@1.4, name@>=1.2,<2
    priority = 5                                # higher goes first; equal priorities go by age
    deadline_s = 3600                           # over by then, counted from the submission, or failed
    idempotency_key = "report-2031-05-01"       # the same key submits the same job only once
    [limits]
    max_actions = 200
    [budget]
    energy_kJ = 50                              # computing and awake, over all runs; over it the job fails
    [labels]
    customer = "acme"

Types and what holds of them together; job_file.py reads them from a TOML file, flags, or both.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from runtime.errors import RuntimeFault
from runtime.store.versions import RANGE
from runtime.transport.dial import shown

SPEC_VERSION = 4  # 2: `needs`, `variants`, `retries`; 3: `verification`, `needs.other_than`; 4: `budget`,
# `checkpoint`, `batch`
BATCH_CAP = 10_000  # inputs of one job
BATCH_CAP_BYTES = 256 * 1024  # of them together, encoded: they travel with the job's record
BATCH_AGENT = "batch"  # the lane of batches, where a desktop's jobs have their agent
_CURRENCY = r"^[A-Z]{3,8}\Z"
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


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a job may cost over all its runs. A car that sees it spent stops; the job fails and says so."""

    energy_kJ: (
        Annotated[float, Meta(gt=0, le=1e9, description="kJ of computing and of a car awake for it, all runs")] | None
    ) = None
    price: Annotated[float, Meta(gt=0, le=1e9, description="what all runs may cost by their cars' [prices]")] | None = (
        None
    )
    currency: Annotated[
        str, Meta(pattern=_CURRENCY, max_length=8, description="of `price`; a car paid in another leaves the job")
    ] = "EUR"

    @property
    def is_limited(self) -> bool:
        """Whether there is any."""
        return self.energy_kJ is not None or self.price is not None

    def exceeded(self, joules: float, price: float) -> str:
        """Returns which budget is spent, in words; nothing while some of each is left."""
        if self.energy_kJ is not None and joules >= 1000 * self.energy_kJ:
            return f"its budget of {self.energy_kJ:g} kJ is spent: {joules / 1000:.4g} kJ"
        if self.price is not None and price >= self.price:
            return f"its budget of {self.price:g} {self.currency} is spent: {price:.4g} {self.currency}"
        return ""


class CheckpointPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often the store hears of a run. Between, the desktop keeps the agent's state with every action."""

    every_s: Annotated[
        float, Meta(ge=0, le=3600, description="the store is told so often, and at every yield; 0: every action")
    ] = 10.0


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A batch inference: inputs for a model of the job's bundle, and no desktop. No inputs: it is none."""

    inputs: Annotated[
        tuple[dict[str, Any], ...],
        Meta(max_length=BATCH_CAP, description="tables of the model's input tensors by name, one a result"),
    ] = ()
    role: Annotated[str, Meta(pattern=_NAME, max_length=64, description="which model of the bundle")] = "model"


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
            pattern=r"^(unix:/.+|tls://[^/\s]+:[0-9]+|relay://[^/\s]+:[0-9]+/[0-9A-Fa-f]{32,128})?\Z",
            max_length=512,
            description="unix:/path, tls://host:port or relay://host:port/TOKEN",
        ),
    ] = ""
    instruction: Annotated[str, Meta(max_length=8192, description="what to do, in a person's words")] = ""
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
    budget: Budget = Budget()
    checkpoint: CheckpointPolicy = CheckpointPolicy()
    batch: Batch = Batch()
    idempotency_key: Annotated[str, Meta(max_length=256, description="the same key is the same job")] = ""
    labels: Annotated[
        dict[Annotated[str, Meta(min_length=1, max_length=64)], Annotated[str, Meta(max_length=256)]],
        Meta(max_length=32, description="for the submitter's own use"),
    ] = {}

    def __post_init__(self) -> None:
        """Raises ValueError, which decoding turns into its own error, for what is neither kind of job, or both."""
        if self.batch.inputs:
            _check_batch(self)
        elif not self.desktop or not self.instruction:
            missing = "instruction" if self.desktop else "desktop"
            raise ValueError(f"{missing} is missing, and `batch` has no inputs")

    @property
    def is_batch(self) -> bool:
        """Whether it is a batch inference, without a desktop."""
        return bool(self.batch.inputs)

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


PARTS: dict[str, type[msgspec.Struct]] = {  # the tables within a job
    "limits": Limits,
    "needs": Needs,
    "verification": Verification,
    "budget": Budget,
    "checkpoint": CheckpointPolicy,
    "batch": Batch,
}


def _check_batch(spec: JobSpec) -> None:
    """Raises ValueError for a batch that cannot be done."""
    if spec.desktop or spec.instruction or spec.token:
        raise ValueError("a batch has no desktop, instruction or token")
    if spec.agent != BATCH_AGENT:
        raise ValueError(f"a batch has no agent but '{BATCH_AGENT}', got '{spec.agent}'")
    if not spec.model and not spec.variants:
        raise ValueError("a batch needs a `model` or `variants`")
    if spec.verification.repeatable:
        raise ValueError("a batch cannot be checked by doing it again on a desktop: leave `verification` out")
    size = len(msgspec.msgpack.encode(spec.batch.inputs))
    if size > BATCH_CAP_BYTES:
        raise ValueError(f"batch.inputs have {size} bytes, at most {BATCH_CAP_BYTES}: cut it with `batch.chunk`")
