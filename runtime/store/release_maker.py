"""The maker's side of releases: writes TUF metadata that cars check by (releases.py). Runs where the keys are.

    made = ReleaseMaker.create(folder, keys)      root, targets, snapshot, timestamp; a key for each role
    made.release(manifest)                        a target from now on, with the next release number of its name
    made.renew()                                  a new timestamp, before the old one expires
    made.withdraw(name, version); made.replace_key(role, key)

`folder` is what is published as it is: 1.root.json, timestamp.json, 7.snapshot.json, 7.targets.json.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from runtime.store.files import write_atomically
from runtime.store.keys import SigningKey
from runtime.store.manifest import Manifest
from runtime.store.releases import target_path

ROLES = ("root", "targets", "snapshot", "timestamp")
LIFE_DAYS = {"root": 365.0, "targets": 90.0, "snapshot": 14.0, "timestamp": 7.0}


class ReleaseMaker:
    """Metadata in `folder`, and a key for each of ROLES. `now` is for tests."""

    def __init__(
        self,
        folder: Path,
        keys: Mapping[str, SigningKey],
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self.folder = folder
        self._keys, self._now = dict(keys), now
        self._versions = dict.fromkeys(ROLES, 0)
        self._root = Root(consistent_snapshot=True)
        self._targets = Targets()

    @staticmethod
    def create(
        folder: Path,
        keys: Mapping[str, SigningKey],
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> ReleaseMaker:
        """Makes and publishes the first metadata. `folder`/1.root.json is what cars are enrolled with."""
        made = ReleaseMaker(folder, keys, now)
        folder.mkdir(parents=True, exist_ok=True)
        for role in ROLES:
            made._root.add_key(_signer(keys[role]).public_key, role)
        made._publish_root([keys["root"]])
        made.publish()
        return made

    def release(self, manifest: Manifest) -> int:
        """Publishes a manifest; returns its release number."""
        data = manifest.encode()
        release = 1 + max((_release(target) for target in self._of(manifest.name)), default=0)
        target = TargetFile.from_data(target_path(manifest), data, ["sha256"])
        target.unrecognized_fields["custom"] = {"release": release}
        self._targets.targets[target.path] = target
        self.publish()
        return release

    def withdraw(self, name: str, version: str) -> None:
        """Takes a bundle out of what may be installed."""
        del self._targets.targets[f"{name}/{version}"]
        self.publish()

    def replace_key(self, role: str, key: SigningKey) -> None:
        """Lets `key` sign for `role` from now on, and the old one no more. A new root is signed by both."""
        old = self._keys[role]
        self._root.revoke_key(_signer(old).public_key.keyid, role)
        self._root.add_key(_signer(key).public_key, role)
        self._keys[role] = key
        self._publish_root([old, key] if role == "root" else [self._keys["root"]])
        self.publish()

    def publish(self) -> None:
        """Publishes targets, snapshot and timestamp under new versions."""
        self._versions["targets"] += 1
        targets = self._sign("targets", self._targets)
        self._write(f"{self._versions['targets']}.targets.json", targets)
        self._versions["snapshot"] += 1
        listed = MetaFile(self._versions["targets"])
        snapshot = self._sign("snapshot", Snapshot(meta={"targets.json": listed}))
        self._write(f"{self._versions['snapshot']}.snapshot.json", snapshot)
        self.renew()

    def renew(self) -> None:
        """Publishes a new timestamp alone."""
        self._versions["timestamp"] += 1
        listed = MetaFile(self._versions["snapshot"])
        self._write("timestamp.json", self._sign("timestamp", Timestamp(snapshot_meta=listed)))

    def _publish_root(self, keys: list[SigningKey]) -> None:
        self._versions["root"] += 1
        self._write(f"{self._versions['root']}.root.json", self._sign("root", self._root, keys))

    def _sign(self, role: str, signed: Any, keys: list[SigningKey] | None = None) -> bytes:
        signed.version = self._versions[role]
        signed.expires = (self._now() + timedelta(days=LIFE_DAYS[role])).replace(microsecond=0)
        metadata = Metadata(signed)
        for key in keys or [self._keys[role]]:
            metadata.sign(_signer(key), append=True)
        return bytes(metadata.to_bytes())

    def _write(self, name: str, data: bytes) -> None:
        write_atomically(self.folder / name, data)

    def _of(self, name: str) -> list[TargetFile]:
        return [target for path, target in self._targets.targets.items() if path.split("/")[0] == name]


def _release(target: TargetFile) -> int:
    return int(target.unrecognized_fields["custom"]["release"])


def _signer(key: SigningKey) -> CryptoSigner:
    return CryptoSigner(key.secret)
