# The doorway to the frame kernels (kernels/frames/frames.h): checks the arguments, lets the GIL go, makes one C call.
from kernels.common.variants cimport variant_index, variant_names
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport uint8_t, uintptr_t

cdef extern from "frames/frames.h":
    enum: IH_TILE
    enum: IH_HASH_BYTES
    enum: IH_DONE
    ctypedef struct ih_gate:
        pass
    ctypedef struct ih_tile_key:
        pass
    ctypedef struct ih_frame:
        const uint8_t *pixels
        int h
        int w
        ptrdiff_t stride
    const void *ih_frames_table[]
    ctypedef struct ih_tile_sums:  # an array in C
        pass
    int ih_tile_arena(int w) nogil
    int ih_tile_hashes(int variant, const ih_frame *frame, const ih_tile_key *key, const ih_gate *gate,
                       ih_tile_sums *arena, uint8_t *hashes) nogil
    int ih_tiles_differ(const uint8_t *hashes, const uint8_t *previous, int count, uint8_t *mask) nogil
    void ih_region_hash(const uint8_t *tiles, int count, int h, int w, const ih_tile_key *key, uint8_t *out) nogil

TILE = IH_TILE
HASH_BYTES = IH_HASH_BYTES
KEY_BYTES = sizeof(ih_tile_key)


def available_variants():
    return variant_names(<const void *const *>ih_frames_table)


cdef int frame_of(const uint8_t[:, :, :] pixels, ih_frame *frame) except -1:
    if pixels.shape[2] != 4 or pixels.strides[2] != 1 or pixels.strides[1] != 4:
        raise ValueError("the four bytes of a pixel and the pixels of a row must lie together")
    if not (0 < pixels.shape[0] <= 32768 and 0 < pixels.shape[1] <= 32768):
        raise ValueError(f"a frame has 1..32768 rows and columns, got {pixels.shape[0]} x {pixels.shape[1]}")
    frame.pixels = &pixels[0, 0, 0]
    frame.h = <int>pixels.shape[0]
    frame.w = <int>pixels.shape[1]
    frame.stride = pixels.strides[0]
    return 0


cdef const ih_tile_key *key_of(const uint8_t[::1] key) except NULL:
    if key.shape[0] != sizeof(ih_tile_key) or <uintptr_t>&key[0] % 8:
        raise ValueError(f"an expanded key has {sizeof(ih_tile_key)} bytes at a multiple of 8, got {key.shape[0]}")
    return <const ih_tile_key *>&key[0]


def tile_hashes(const uint8_t[:, :, :] pixels, const uint8_t[::1] key, uint8_t[:, :, ::1] hashes, uintptr_t gate,
                variant):
    """Fills hashes (ceil(h/64), ceil(w/64), 16); returns 1 if the gate closed meanwhile, else 0."""
    cdef ih_frame frame
    cdef int status, chosen = variant_index(<const void *const *>ih_frames_table, variant)
    cdef const ih_tile_key *expanded = key_of(key)
    frame_of(pixels, &frame)
    if (hashes.shape[0] != (frame.h + IH_TILE - 1) // IH_TILE or hashes.shape[1] != (frame.w + IH_TILE - 1) // IH_TILE
            or hashes.shape[2] != IH_HASH_BYTES):
        raise ValueError("hashes has the wrong shape")
    cdef void *arena = PyMem_Malloc(ih_tile_arena(frame.w) * sizeof(ih_tile_sums))
    if arena == NULL:
        raise MemoryError
    try:
        with nogil:
            status = ih_tile_hashes(chosen, &frame, expanded, <const ih_gate *>gate, <ih_tile_sums *>arena,
                                    &hashes[0, 0, 0])
    finally:
        PyMem_Free(arena)
    return status


def tiles_differ(const uint8_t[:, :, ::1] hashes, const uint8_t[:, :, ::1] previous, uint8_t[:, ::1] mask):
    """Fills mask (rows, cols) from hashes and previous (rows, cols, 16); returns how many tiles differ."""
    if (hashes.shape[0] != previous.shape[0] or hashes.shape[1] != previous.shape[1]
            or mask.shape[0] != hashes.shape[0] or mask.shape[1] != hashes.shape[1]
            or hashes.shape[2] != IH_HASH_BYTES or previous.shape[2] != IH_HASH_BYTES or mask.size == 0):
        raise ValueError("hashes, previous and mask do not have the same rows and columns")
    return ih_tiles_differ(&hashes[0, 0, 0], &previous[0, 0, 0], <int>(mask.shape[0] * mask.shape[1]), &mask[0, 0])


def region_hash(const uint8_t[:, :, ::1] tiles, int h, int w, const uint8_t[::1] key):
    """Returns 16 bytes from the tile hashes (rows, cols, 16) of a region of h x w pixels."""
    cdef uint8_t out[IH_HASH_BYTES]
    if tiles.size == 0 or tiles.shape[2] != IH_HASH_BYTES:
        raise ValueError("tiles has the wrong shape")
    ih_region_hash(&tiles[0, 0, 0], <int>(tiles.shape[0] * tiles.shape[1]), h, w, key_of(key), out)
    return (<const char *>out)[:IH_HASH_BYTES]
