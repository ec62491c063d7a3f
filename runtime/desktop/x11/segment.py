"""A System V shared memory segment that the X server writes pixels into."""

from __future__ import annotations

import ctypes
import os
import weakref

import numpy as np
import xcffib
from numpy.typing import NDArray

from runtime.desktop.errors import DisplayUnsuitable
from runtime.desktop.x11.connection import Connection

_IPC_PRIVATE, _IPC_CREAT, _IPC_RMID = 0, 0o1000, 0
_libc = ctypes.CDLL(None, use_errno=True)
_libc.shmat.restype = ctypes.c_void_p
_libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
_libc.shmdt.argtypes = [ctypes.c_void_p]


class Segment:
    """`size` bytes shared with the X server of `connection`: `pixels` is our view, `xid` the server's name of it.

    The segment is marked for removal as soon as both are attached, so nothing that was seen outlives the two.
    Raises DisplayUnsuitable if the server cannot attach it (it runs on another machine, or in another IPC namespace).
    """

    def __init__(self, connection: Connection, size: int) -> None:
        self._connection = connection
        segment_id = _libc.shmget(_IPC_PRIVATE, ctypes.c_size_t(size), _IPC_CREAT | 0o600)
        if segment_id < 0:
            raise DisplayUnsuitable(
                f"{size} bytes of shared memory cannot be had: {os.strerror(ctypes.get_errno())}",
                next_step="raise kernel.shmmax and kernel.shmall, or free segments (`ipcs -m`)",
            )
        try:
            address = _libc.shmat(segment_id, None, 0)
            if address in (None, ctypes.c_void_p(-1).value):
                raise DisplayUnsuitable(f"shared memory cannot be attached: {os.strerror(ctypes.get_errno())}")
            buffer = (ctypes.c_uint8 * size).from_address(address)
            weakref.finalize(buffer, _libc.shmdt, address)
            self.xid: int = connection.conn.generate_id()
            try:
                connection.asking(lambda: connection.shm.AttachChecked(self.xid, segment_id, False).check())
            except xcffib.Error as error:
                raise DisplayUnsuitable(
                    f"the X server at {connection.name!r} cannot attach shared memory of this process",
                    next_step="run the connector on the desktop's own machine, as the user of the X server",
                ) from error
        finally:
            _libc.shmctl(segment_id, _IPC_RMID, None)
        self.pixels: NDArray[np.uint8] = np.frombuffer(memoryview(buffer).cast("B"), dtype=np.uint8)
        self._is_open = True

    def close(self) -> None:
        """Wipes the segment and takes it from the server; the memory goes with the last view of `pixels`."""
        if not self._is_open:
            return
        self._is_open = False
        self.pixels[:] = 0
        if self._connection.is_alive():
            self._connection.shm.Detach(self.xid)
            self._connection.flush()
