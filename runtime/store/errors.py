"""Errors of bundles and of the model store.

StoreError
├── KeyFileError       a key's file: absent, of another kind, readable by others
├── BundleError        a bundle: damaged, hostile, or not one
│   ├── UntrustedBundle    not signed, or by a key that is not trusted here
│   └── WrongDevice        encrypted for other devices than this one
├── ModelNotFound      no such name or version is installed
├── VersionTaken       other bytes are installed under this name and version
└── StoreUnusable      the store's disk is full or fails, or another process changes it
    └── QuotaExceeded      the bundle does not fit into the store's quota
"""

from __future__ import annotations

from typing import ClassVar

from runtime.errors import RuntimeFault


class StoreError(RuntimeFault):
    """Something asked of the model store cannot be done; the store is unchanged."""


class KeyFileError(StoreError):
    """A file does not hold the key that it should, or others may read a secret one."""

    next_step: ClassVar[str] = "create a key with `idlehands model key`, or name another file"


class BundleError(StoreError):
    """A bundle is damaged, or is not what its manifest says; nothing of it was used."""

    next_step: ClassVar[str] = "get the bundle again from its maker; the store is unchanged"


class UntrustedBundle(BundleError):
    """A bundle has no signature by a key that is trusted here."""

    next_step: ClassVar[str] = "sign it with a trusted key, or trust its maker's public key; the store is unchanged"


class WrongDevice(BundleError):
    """A bundle is encrypted, and not for this device; nothing of it was decrypted."""

    next_step: ClassVar[str] = "give its maker the line that `idlehands model device-key` prints here, and get it anew"


class ModelNotFound(StoreError):
    """No installed bundle has this name, or none has this version."""

    next_step: ClassVar[str] = "`idlehands model list` shows what is installed"


class VersionTaken(StoreError):
    """Another bundle is installed under the same name and version: a version never changes its meaning."""

    next_step: ClassVar[str] = "pack it under a new version"


class StoreUnusable(StoreError):
    """The store cannot be read or written: a full or failing disk, rights, or another process is changing it."""

    next_step: ClassVar[str] = "free space or mend the rights, then try again; what was installed is untouched"


class QuotaExceeded(StoreUnusable):
    """The bundle does not fit into the store's quota."""

    next_step: ClassVar[str] = "remove versions that are not needed, or raise the quota; the store is unchanged"
