"""The command `idlehands`: a table of verbs, each in a module of its own that is imported when it is used.

An error that the user must act on is one line on stderr (what, where, expected and got; the next step) and exit code 2.
"""

from __future__ import annotations

import sys

import click

from kernels.errors import IdlehandsError
from runtime.cli.verbs import Verbs

VERBS = {
    "bridge": ("runtime.cli.bridge:bridge", "Read the vehicle, decide by policy, write the gate word."),
    "demo": ("runtime.cli.demo:demo", "The main job, live, on this machine."),
    "demo-fleet": ("runtime.cli.demo_fleet:demo_fleet", "A task that moves from car to car, live."),
    "desktop": ("runtime.cli.desktop:desktop", "Let a car work on this desktop."),
    "doctor": ("runtime.cli.doctor:doctor", "Check this installation and say what is missing."),
    "eval": ("runtime.cli.evaluate:evaluate", "Measure an agent on live pages and real applications."),
    "fleet": ("runtime.cli.fleet:fleet", "Many cars: simulate a day of them."),
    "gate": ("runtime.cli.gate:gate", "Replay a recording through the gate; prove the policy."),
    "install": ("runtime.cli.install:install", "Write systemd units, users and settings."),
    "jobs": ("runtime.cli.jobs:jobs", "List, show and cancel jobs."),
    "ledger": ("runtime.cli.ledger:ledger", "What runs used: verify the chain, sum it up."),
    "model": ("runtime.cli.model:model", "Pack, sign, install, fetch, verify and quantise model bundles."),
    "pair": ("runtime.cli.pair:pair", "Make a car and a desktop trust each other by a code; rotate, revoke."),
    "relay": ("runtime.cli.relay:relay", "Join cars and desktops that can both only dial out."),
    "results": ("runtime.cli.results:results", "What a batch has brought, as JSON lines."),
    "serve": ("runtime.cli.serve:serve", "Run the daemon: jobs, workers, ledger."),
    "status": ("runtime.cli.status:status", "The daemon at a glance."),
    "submit": ("runtime.cli.submit:submit", "Submit a job for a desktop, or a batch of inputs for a model."),
    "top": ("runtime.cli.top:top", "Gate, governor, jobs and energy, live in the terminal."),
    "uninstall": ("runtime.cli.install:uninstall", "Remove what install wrote; settings and state stay."),
    "why": ("runtime.cli.why:why", "Why the gate is as it is: each reason, its value and limit."),
}


@click.command(cls=Verbs, table=VERBS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="idlehands")
def cli() -> None:
    """idlehands: a parked car's computer works remote desktops, and stops the instant that the car is needed.

    \b
    Try it:        idlehands demo
    By hand:       idlehands bridge, serve and desktop, each in a terminal; then idlehands submit
    Not running?   idlehands why
    """


def main() -> None:
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `idlehands jobs | head`
        sys.stderr.close()
        sys.exit(0)
    except IdlehandsError as error:
        print(f"idlehands: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
