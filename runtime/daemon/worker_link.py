"""Messages between the daemon and one of its workers, over a Unix socket pair; a process boundary, not a network one.

    daemon ─► worker   Assign (a claimed job)   Cancel   Leave   Kept (an intent, or results)
    worker ─► daemon   Up   Intent (the checkpoint, before an action)   Outputs   Progress   Accounted   Models
                       Ended   Yielded   Broken   GivenBack (a promise that cannot be kept)

Every message about a job carries its owner_epoch, so that word of a lost claim changes nothing.
"""

from __future__ import annotations

import msgspec

from runtime.daemon.control import Computing, LoadedModel


class Assign(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """Work on a claimed job. `spec` is the encoded JobSpec, `checkpoint` the encoded Checkpoint or empty, `counted` the
    actions of the runs before."""

    job: str
    owner_epoch: int
    gate_epoch: int
    spec: bytes
    checkpoint: bytes
    counted: int = 0


class Cancel(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """End the run, and the job as `state`: cancelled or failed."""

    job: str
    reason: str
    state: str = "cancelled"


class Leave(msgspec.Struct, array_like=True, frozen=True, tag=3):
    """Give back what runs and end."""

    reason: str


class Kept(msgspec.Struct, array_like=True, frozen=True, tag=4):
    """The intent is in the store: the action may be sent. Or a batch's results before number `seq` are."""

    job: str
    seq: int


class Intent(msgspec.Struct, array_like=True, frozen=True, tag=21):
    """An action is about to be sent; who goes on with `checkpoint` asks the desktop whether it was applied, which keeps
    the checkpoint too if it is `elsewhere`."""

    job: str
    owner_epoch: int
    seq: int
    checkpoint: bytes
    elsewhere: bool = False


class Outputs(msgspec.Struct, array_like=True, frozen=True, tag=25):
    """Results of a batch from number `first` on; `checkpoint` is what holds after them."""

    job: str
    owner_epoch: int
    first: int
    results: tuple[bytes, ...]
    checkpoint: bytes


class Up(msgspec.Struct, array_like=True, frozen=True, tag=16):
    """The worker is ready for jobs."""

    pid: int


class StepTimes(msgspec.Struct, array_like=True, frozen=True):
    """Where one action's time went, in µs. `transfer_us` is everything on the wire, both ways."""

    capture_us: int
    transfer_us: int
    model_us: int
    inject_us: int
    settle_us: int
    total_us: int


class Models(msgspec.Struct, array_like=True, frozen=True, tag=22):
    """What the worker's models are by now, and how it went; said when that changed."""

    models: tuple[LoadedModel, ...]
    computing: Computing


class Progress(msgspec.Struct, array_like=True, frozen=True, tag=17):
    """An action ended. `action` is its kind and place for people ("click at 40,52"), never typed text; `presses` are
    those that it makes ("button 1", "key"), for whoever counts them."""

    job: str
    owner_epoch: int
    seq: int
    outcome: int
    reason: int
    action: str
    x: int
    y: int
    presses: tuple[str, ...]
    times: StepTimes


class Accounted(msgspec.Struct, array_like=True, frozen=True, tag=24):
    """A decision was made, of a job that may be checked by doing it again: see runtime.jobs.account."""

    job: str
    owner_epoch: int
    asked: str
    said: str


class Used(msgspec.Struct, array_like=True, frozen=True):
    """What a run used. `unheard` are the presses of an action under way: they may or may not have happened. `total` are
    the actions of all runs of the job, as far as this one knows."""

    actions: int
    seconds: float
    cpu_s: float
    unheard: tuple[str, ...]
    total: int = 0


class Ended(msgspec.Struct, array_like=True, frozen=True, tag=18):
    """The job is over on its own terms: `state` is done, failed, asked or cancelled."""

    job: str
    owner_epoch: int
    state: str
    answer: str
    used: Used


class Yielded(msgspec.Struct, array_like=True, frozen=True, tag=19):
    """The gate closed: the job goes back. Times are CLOCK_BOOTTIME; 0 where the stage was not reached."""

    job: str
    owner_epoch: int
    reason: str
    checkpoint: bytes
    stopped_ns: int
    released_ns: int
    used: Used


class Broken(msgspec.Struct, array_like=True, frozen=True, tag=20):
    """The session broke (unreachable, refused, lost): the job goes back with its checkpoint, for a later try."""

    job: str
    owner_epoch: int
    error: str
    checkpoint: bytes
    used: Used


class GivenBack(msgspec.Struct, array_like=True, frozen=True, tag=23):
    """The worker cannot promise this job what it asks for, from the start or no longer: it goes back, without fault."""

    job: str
    owner_epoch: int
    reason: str
    checkpoint: bytes
    used: Used


ToWorker = Assign | Cancel | Leave | Kept
ToDaemon = Up | Intent | Outputs | Models | Progress | Accounted | Ended | Yielded | Broken | GivenBack
