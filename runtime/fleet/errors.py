"""What can go wrong between a car, a submitter and the fleet's servers.

JobStoreError
 └─ FleetAway          nobody answered: nothing is lost, it is tried again
RuntimeFault
 ├─ ServerRefused      it answered, and said no: rights, or a stream that is not there
 │   └─ Refusal        with JetStream's own code
 ├─ ServerUnfit        its version or an echoed setting shows that it cannot do what ownership stands on
 └─ CredentialsError   the folder of credentials is not one
"""

from __future__ import annotations

from typing import ClassVar

from runtime.errors import RuntimeFault
from runtime.jobs.life import JobError
from runtime.jobs.store import JobStoreError


class FleetAway(JobStoreError):
    """No answer from the fleet's servers: the link is down, the server restarts, or it is overloaded."""

    next_step: ClassVar[str] = "nothing is lost: it is tried again; look at fleet.server and the link if it lasts"


class ServerRefused(JobStoreError):
    """The fleet's server answered and refused: these credentials may not do that, or the fleet was never set up."""

    next_step: ClassVar[str] = "let the fleet's operator check these credentials and run 'idlehands fleet up' once"


class Refusal(ServerRefused):
    """JetStream refused a request; `code` is its err_code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class FleetsJob(JobError):
    """The job is the fleet's, and only runs here: who submitted it cancels it."""

    next_step: ClassVar[str] = "cancel it at the fleet: idlehands fleet cancel JOB"


class ServerUnfit(RuntimeFault):
    """The fleet's server is too old, or silently ignores a setting that ownership stands on."""

    next_step: ClassVar[str] = "run nats-server 2.11 or later with JetStream"


class CredentialsError(RuntimeFault):
    """The credentials of a car or a submitter are absent, damaged, or incomplete."""

    next_step: ClassVar[str] = "let the fleet's operator issue them: idlehands fleet up --enroll NAME"
