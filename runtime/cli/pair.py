"""`idlehands pair`: a code that one side shows and a person types at the other makes the two trust each other."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from runtime.cli.options import config_options, json_option, print_json, print_table, settings_of
from runtime.config.config import Config
from runtime.transport import pairing
from runtime.transport.dial import host_port
from runtime.transport.identity import Identity
from runtime.transport.pairing import Paired
from runtime.transport.rotation import accept, finish, prepare

STATEMENT_FILE = "rotation.json"


@dataclass(frozen=True)
class Side:
    """Whose identity is meant: `name` is "car", "desktop", or "" for what the verb says by itself."""

    config: Config
    name: str

    def identity(self, otherwise: str) -> Identity:
        """Returns this side's identity, made on first use."""
        name = self.name or otherwise
        folder = self.config.daemon.identity_folder if name == "car" else self.config.desktop.state / "identity"
        return Identity.load(folder) if Identity.exists(folder) else Identity.create(folder, name=name)


@click.group()
@click.option(
    "--as",
    "side",
    type=click.Choice(("car", "desktop")),
    help="Which side this is. Default: who shows the code is the desktop, who joins is the car.",
)
@config_options
@click.pass_context
def pair(ctx: click.Context, side: str | None, config_path: str | None, settings: tuple[str, ...]) -> None:
    """Make a car and a desktop trust each other, change keys, and end trust.

    \b
    On the desktop:   idlehands pair show                         shows 4821-9035, and the address
    On the car:       idlehands pair join 4821-9035 HOST:PORT     trusted from now on, both ways
    Behind NATs:      idlehands pair show --relay HOST:PORT       and join with the same --relay
    """
    ctx.obj = Side(settings_of(config_path, settings), side or "")


@pair.command()
@click.option("--listen", "address", default="0.0.0.0:7463", show_default=True, help="Where the other side dials.")
@click.option("--relay", metavar="HOST:PORT", help="Meet at this relay instead: both sides only dial out.")
@click.option("--minutes", type=click.FloatRange(0.1, 60), default=10.0, show_default=True, help="How long to wait.")
@json_option
@click.pass_obj
def show(side: Side, address: str, relay: str | None, minutes: float, as_json: bool) -> None:
    """Show a code and wait for the side that types it in. Three wrong ones, and it is dead."""
    identity, code = side.identity("desktop"), pairing.new_code()

    def tell(where: str, shown: str) -> None:
        if as_json:
            print_json({"code": shown, "at": where})
        else:
            print(f"code  {shown}\nat    {where}", flush=True)
        sys.stdout.flush()

    async def wait() -> Paired:
        if relay is None:
            host, port = host_port(f"pair://{address}")
            return await pairing.listen_and_pair(
                host, port, identity, code, minutes * 60, lambda at: tell(at.removeprefix("pair://"), code)
            )
        whole = f"{pairing.new_room()}-{code}"
        host, port = host_port(f"relay://{relay}")
        told: list[str] = []

        def waiting() -> None:
            if not told:
                tell(f"the relay {relay}", whole)
            told.append(whole)

        return await pairing.wait_at_relay(host, port, identity, whole, minutes * 60, waiting)

    _tell_paired(asyncio.run(wait()), relay, as_json)


@pair.command()
@click.argument("code")
@click.argument("address", required=False)
@click.option("--relay", metavar="HOST:PORT", help="Meet at this relay, as the other side does.")
@json_option
@click.pass_obj
def join(side: Side, code: str, address: str | None, relay: str | None, as_json: bool) -> None:
    """Type in the CODE that the other side shows, and its ADDRESS (host:port) or --relay."""
    if (address is None) == (relay is None):
        raise click.UsageError("give either the ADDRESS that the other side shows, or --relay HOST:PORT")
    identity = side.identity("car")
    host, port = host_port(f"pair://{address or relay}")
    reach = pairing.join_at_relay if relay else pairing.dial_and_pair
    _tell_paired(asyncio.run(reach(host, port, identity, code)), relay, as_json)


@pair.command(name="list")
@json_option
@click.pass_obj
def list_peers(side: Side, as_json: bool) -> None:
    """List whom this side trusts (a car's, unless `pair --as desktop list`)."""
    identity = side.identity("car")
    found = identity.trusted().values()
    if as_json:
        print_json([{"name": one.name, "fingerprint": one.fingerprint, "ends": str(one.ends)} for one in found])
        return
    rows = [(one.fingerprint, one.name, f"{one.ends:%Y-%m-%d}") for one in found]
    print_table(f"{identity.me.name} ({identity.fingerprint[:16]}) trusts", ("fingerprint", "name", "until"), rows)


@pair.command()
@click.argument("fingerprint")
@click.pass_obj
def revoke(side: Side, fingerprint: str) -> None:
    """End the trust in one peer: at least 8 digits of its FINGERPRINT. No restart is needed."""
    gone = side.identity("car").revoke(fingerprint)
    print(f"{gone.name} ({gone.fingerprint[:16]}) is trusted no more")


@pair.command()
@click.option("--finish", "is_finish", is_flag=True, help="The peers have accepted: use the new key from now on.")
@click.option("--out", type=click.Path(path_type=Path), help="Where the statement goes. Default: beside the key.")
@click.pass_obj
def rotate(side: Side, is_finish: bool, out: Path | None) -> None:
    """Make a new key, in two steps, so that no peer is ever without a key that it knows.

    \b
    idlehands pair rotate               writes a statement for the peers: idlehands pair accept FILE
    idlehands pair rotate --finish      from now on the new key counts; each peer then forgets the old one
    """
    identity = side.identity("car")
    if is_finish:
        now = finish(identity)
        (identity.folder / STATEMENT_FILE).unlink(missing_ok=True)
        print(f"{now.me.name} is {now.fingerprint[:16]} from now on; restart its daemon or connector")
        return
    target = out or identity.folder / STATEMENT_FILE
    target.write_text(prepare(identity))
    print(f"{target}: give it to every peer (it is no secret), then idlehands pair rotate --finish")


@pair.command(name="accept")
@click.argument("statement", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def accept_statement(side: Side, statement: Path) -> None:
    """Accept a trusted peer's new certificate, from the file STATEMENT that its `pair rotate` wrote."""
    old, new = accept(side.identity("desktop"), statement.read_bytes())
    print(f"{new.name}: {new.fingerprint[:16]} is trusted, {old.fingerprint[:16]} until the new one is first seen")


def _tell_paired(paired: Paired, relay: str | None, as_json: bool) -> None:
    peer = paired.peer
    url = f"relay://{relay}/{paired.token}" if relay else None
    if as_json:
        print_json({"paired": peer.name, "fingerprint": peer.fingerprint, "relay_url": url})
        return
    print(f"paired with {peer.name} ({peer.fingerprint[:16]})")
    if url:
        print(f"meet at {url}\n(a secret of the two: desktop.listen there, the job's desktop here)")
