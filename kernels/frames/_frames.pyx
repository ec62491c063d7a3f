# The doorway to the frame kernels (kernels/frames/frames.h): checks the arguments, lets the GIL go, makes one C call.
from kernels.common.variants cimport variant_index, variant_names
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t

cdef extern from "frames/frames.h":
    enum: IH_RESIZE_SHRINK_MAX
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
    ctypedef struct ih_axis:
        int n_in
        int n_out
    ctypedef struct ih_quantise:
        int16_t multiplier[4]
        int16_t offset[4]
        int shift
        int is_unsigned
        int plane_of[4]
    ptrdiff_t ih_axis_bytes(int n_in, int n_out, int is_horizontal) nogil
    void ih_axis_build(ih_axis *axis, int n_in, int n_out, int is_horizontal, void *memory) nogil
    ptrdiff_t ih_resize_scratch_bytes(int w_in, int w_out) nogil
    int ih_resize(int variant, const ih_frame *frame, const ih_axis *down, const ih_axis *along,
                  const ih_quantise *quantise, const ih_gate *gate, int16_t *scratch, uint8_t *out) nogil
    int ih_resize_and_hash(int variant, const ih_frame *frame, const ih_axis *down, const ih_axis *along,
                           const ih_quantise *quantise, const ih_gate *gate, const ih_tile_key *key, int16_t *scratch,
                           ih_tile_sums *arena, uint8_t *out, uint8_t *hashes) nogil
    int ih_crop_resize(int variant, const ih_frame *frame, const int32_t (*boxes)[4], int count, int h_out, int w_out,
                       const ih_quantise *quantise, const ih_gate *gate, int16_t *scratch, void *axis_memory,
                       uint8_t *out) nogil
    int ih_tiles_differ(const uint8_t *hashes, const uint8_t *previous, int count, uint8_t *mask) nogil
    void ih_region_hash(const uint8_t *tiles, int count, int h, int w, const ih_tile_key *key, uint8_t *out) nogil

cdef extern from "frames/pace.h":
    ctypedef struct ih_pace:
        const ih_gate *gate
        int64_t done

cdef extern from "frames/runs.h":
    ctypedef struct ih_runs:
        int64_t *row
        int64_t *start
        int64_t *end
        ptrdiff_t count
    int ih_runs_count(const uint8_t *mask, ptrdiff_t stride, ptrdiff_t h, ptrdiff_t w, ih_pace *pace,
                      ptrdiff_t *count) nogil
    int ih_runs_find(const uint8_t *mask, ptrdiff_t stride, ptrdiff_t h, ptrdiff_t w, int64_t bridge, ih_pace *pace,
                     ih_runs *runs) nogil
    int ih_runs_label(const ih_runs *runs, int diagonal, ih_pace *pace, int64_t *labels, int64_t *components) nogil
    int ih_runs_bounds(const ih_runs *runs, const int64_t *labels, int64_t components, ih_pace *pace,
                       int64_t (*boxes)[5]) nogil
    int ih_runs_paint(const ih_runs *runs, const uint8_t *chosen, ih_pace *pace, uint8_t *mask, int64_t h,
                      int64_t w) nogil

cdef extern from "frames/layout.h":
    enum: IH_ENOMEM
    ctypedef struct ih_arena:
        uint8_t *start
        size_t size
        size_t used
    ctypedef struct ih_edges:
        const uint8_t *at
        ptrdiff_t stride
        int h
        int w
    ctypedef struct ih_layout_item:
        pass
    ctypedef struct ih_layout_items:
        ih_layout_item *items
        size_t count
    int ih_find_edges(const ih_frame *frame, int top, int left, int bottom, int right, ih_pace *pace, uint8_t *edges,
                      ptrdiff_t stride) nogil
    int ih_find_layout(const ih_frame *frame, const ih_edges *edges, ih_pace *pace, ih_arena *arena,
                       ih_layout_items *texts, ih_layout_items *shapes) nogil

cdef extern from "frames/boxes.h":
    enum: IH_THUMB
    int ih_strongest(const ih_frame *frame, const int32_t (*boxes)[4], const uint32_t *papers, ptrdiff_t count,
                     ih_pace *pace, uint32_t *colours) nogil
    int ih_contrast(const ih_frame *frame, const int32_t *box, ih_pace *pace, uint32_t *keys, uint32_t *spare,
                    uint8_t *contrast) nogil
    int ih_box_crcs(const ih_frame *frame, const int32_t (*boxes)[4], ptrdiff_t count, ih_pace *pace,
                    uint32_t *crcs) nogil
    int ih_box_names(const ih_frame *frame, const int32_t (*boxes)[4], ptrdiff_t count, const uint64_t *sip,
                     ih_pace *pace, uint64_t *words, uint8_t (*names)[IH_HASH_BYTES]) nogil
    int ih_thumbnails(const ih_frame *frame, const int32_t (*boxes)[4], const uint32_t *fills, ptrdiff_t count,
                      ih_pace *pace, float *thumbs) nogil

cdef extern from "frames/relations.h":
    enum: IH_COUNTS
    void ih_count_like(const int32_t (*boxes)[4], const int32_t *kinds, const uint8_t (*fills)[3], const int32_t *lines,
                       ptrdiff_t count, int32_t (*counts)[IH_COUNTS]) nogil
    void ih_nearest(const int32_t (*boxes)[4], const uint8_t *chosen, ptrdiff_t count, int64_t *nearest,
                    uint8_t *beside) nogil
    void ih_smallest_around(const int32_t (*boxes)[4], const uint8_t *holders, ptrdiff_t count, int is_larger,
                            int64_t *found) nogil
    void ih_box_pairs(const float (*places)[4], const int64_t *spelled, const float (*links)[2], ptrdiff_t count,
                      ptrdiff_t plane, ptrdiff_t row, float *pairs) nogil

TILE = IH_TILE
HASH_BYTES = IH_HASH_BYTES
KEY_BYTES = sizeof(ih_tile_key)
SHRINK_MAX = IH_RESIZE_SHRINK_MAX


def available_variants():
    return variant_names(<const void *const *>ih_frames_table)


cdef class Memory:
    """Memory for one call, or for the tables of an axis: aligned to 32 bytes, given back with the object."""

    cdef void *allocated
    cdef void *start

    def __cinit__(self, size_t size):
        self.allocated = PyMem_Malloc(size + 32)
        if self.allocated == NULL:
            raise MemoryError
        self.start = <void *>((<uintptr_t>self.allocated + 31) & ~<uintptr_t>31)

    def __dealloc__(self):
        PyMem_Free(self.allocated)


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


cdef int check_hashes(const ih_frame *frame, const uint8_t[:, :, ::1] hashes) except -1:
    if (hashes.shape[0] != (frame.h + IH_TILE - 1) // IH_TILE or hashes.shape[1] != (frame.w + IH_TILE - 1) // IH_TILE
            or hashes.shape[2] != IH_HASH_BYTES):
        raise ValueError("hashes has the wrong shape")
    return 0


def tile_hashes(const uint8_t[:, :, :] pixels, const uint8_t[::1] key, uint8_t[:, :, ::1] hashes, uintptr_t gate,
                variant):
    """Fills hashes (ceil(h/64), ceil(w/64), 16); returns 1 if the gate closed meanwhile, else 0."""
    cdef ih_frame frame
    cdef int status, chosen = variant_index(<const void *const *>ih_frames_table, variant)
    cdef const ih_tile_key *expanded = key_of(key)
    frame_of(pixels, &frame)
    check_hashes(&frame, hashes)
    cdef Memory arena = Memory(ih_tile_arena(frame.w) * sizeof(ih_tile_sums))
    with nogil:
        status = ih_tile_hashes(chosen, &frame, expanded, <const ih_gate *>gate, <ih_tile_sums *>arena.start,
                                &hashes[0, 0, 0])
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


cdef class Axis:
    """The weights of one axis of a resize; kept by the face, as building them takes longer than a row does."""

    cdef ih_axis axis
    cdef Memory memory

    def __cinit__(self, int n_in, int n_out, bint is_horizontal):
        cdef ptrdiff_t size = ih_axis_bytes(n_in, n_out, is_horizontal)
        if size < 0:
            raise ValueError(f"{n_in} pixels cannot become {n_out}: at most {IH_RESIZE_SHRINK_MAX}-fold smaller")
        self.memory = Memory(size)
        ih_axis_build(&self.axis, n_in, n_out, is_horizontal, self.memory.start)


cdef class Quantise:
    """From levels to the tensor's integers; the sequences are by the frame's channels B, G, R."""

    cdef ih_quantise values

    def __cinit__(self, multiplier, offset, int shift, bint is_unsigned, plane_of):
        self.values.multiplier = [*multiplier, 0]
        self.values.offset = [*offset, 0]
        self.values.plane_of = [*plane_of, 0]
        self.values.shift = shift
        self.values.is_unsigned = is_unsigned
        if sorted(plane_of) != [0, 1, 2] or not 0 <= shift <= 8:
            raise ValueError("plane_of must be a permutation of 0, 1, 2 and shift in 0..8")


cdef int check_axes(const ih_frame *frame, Axis down, Axis along, const uint8_t[:, :, ::1] out) except -1:
    if down.axis.n_in != frame.h or along.axis.n_in != frame.w:
        raise ValueError("the axes were built for another frame")
    if out.shape[0] != 3 or out.shape[1] != down.axis.n_out or out.shape[2] != along.axis.n_out:
        raise ValueError(f"out must be (3, {down.axis.n_out}, {along.axis.n_out})")
    return 0


def resize(const uint8_t[:, :, :] pixels, Axis down not None, Axis along not None, Quantise quantise not None,
           uint8_t[:, :, ::1] out, uintptr_t gate, variant):
    """Fills out (3, h, w); returns 1 if the gate closed meanwhile, else 0."""
    cdef ih_frame frame
    cdef int status, chosen = variant_index(<const void *const *>ih_frames_table, variant)
    frame_of(pixels, &frame)
    check_axes(&frame, down, along, out)
    cdef Memory scratch = Memory(ih_resize_scratch_bytes(frame.w, along.axis.n_out))
    with nogil:
        status = ih_resize(chosen, &frame, &down.axis, &along.axis, &quantise.values, <const ih_gate *>gate,
                           <int16_t *>scratch.start, &out[0, 0, 0])
    return status


def resize_and_hash(const uint8_t[:, :, :] pixels, Axis down not None, Axis along not None,
                    Quantise quantise not None, const uint8_t[::1] key, uint8_t[:, :, ::1] out,
                    uint8_t[:, :, ::1] hashes, uintptr_t gate, variant):
    """Fills out (3, h, w) and hashes (rows, cols, 16); returns 1 if the gate closed meanwhile, else 0."""
    cdef ih_frame frame
    cdef int status, chosen = variant_index(<const void *const *>ih_frames_table, variant)
    cdef const ih_tile_key *expanded = key_of(key)
    frame_of(pixels, &frame)
    check_axes(&frame, down, along, out)
    check_hashes(&frame, hashes)
    cdef Memory scratch = Memory(ih_resize_scratch_bytes(frame.w, along.axis.n_out))
    cdef Memory arena = Memory(ih_tile_arena(frame.w) * sizeof(ih_tile_sums))
    with nogil:
        status = ih_resize_and_hash(chosen, &frame, &down.axis, &along.axis, &quantise.values, <const ih_gate *>gate,
                                    expanded, <int16_t *>scratch.start, <ih_tile_sums *>arena.start, &out[0, 0, 0],
                                    &hashes[0, 0, 0])
    return status


def crop_resize(const uint8_t[:, :, :] pixels, const int32_t[:, ::1] boxes, Quantise quantise not None,
                uint8_t[:, :, :, ::1] out, uintptr_t gate, variant):
    """Fills out (n, 3, h, w) from boxes (n, 4) of x, y, w, h; returns 1 if the gate closed meanwhile, else 0."""
    cdef ih_frame frame
    cdef int i, x, y, w, h, widest = 0
    cdef ptrdiff_t along, down, tables = 0
    cdef int status, chosen = variant_index(<const void *const *>ih_frames_table, variant)
    cdef int h_out = <int>out.shape[2], w_out = <int>out.shape[3]
    frame_of(pixels, &frame)
    if boxes.shape[1] != 4 or out.shape[0] != boxes.shape[0] or out.shape[1] != 3:
        raise ValueError("boxes is (n, 4) and out (n, 3, h, w)")
    if boxes.shape[0] == 0:
        return 0
    for i in range(<int>boxes.shape[0]):
        x, y, w, h = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        if w < 1 or h < 1 or x < 0 or y < 0 or x > frame.w - w or y > frame.h - h:
            raise ValueError(f"box {i}: {w}x{h} at ({x}, {y}) is empty or leaves the frame of "
                             f"{frame.w}x{frame.h} pixels")
        along = ih_axis_bytes(w, w_out, True)
        down = ih_axis_bytes(h, h_out, False)
        if along < 0 or down < 0:
            raise ValueError(f"box {i}: {w}x{h} cannot become {w_out}x{h_out}: "
                             f"at most {IH_RESIZE_SHRINK_MAX}-fold smaller")
        tables = max(tables, along + down)
        widest = max(widest, w)
    cdef Memory scratch = Memory(ih_resize_scratch_bytes(widest, w_out))
    cdef Memory memory = Memory(tables)
    with nogil:
        status = ih_crop_resize(chosen, &frame, <const int32_t (*)[4]>&boxes[0, 0], <int>boxes.shape[0], h_out, w_out,
                                &quantise.values, <const ih_gate *>gate, <int16_t *>scratch.start, memory.start,
                                &out[0, 0, 0, 0])
    return status


cdef ih_runs runs_of(const int64_t[::1] row, const int64_t[::1] start, const int64_t[::1] end) except *:
    cdef ih_runs runs
    if row.shape[0] != start.shape[0] or row.shape[0] != end.shape[0] or row.shape[0] == 0:
        raise ValueError("row, start and end of runs are as long as each other, and not empty")
    runs.row, runs.start, runs.end = <int64_t *>&row[0], <int64_t *>&start[0], <int64_t *>&end[0]
    runs.count = row.shape[0]
    return runs


def runs_count(const uint8_t[:, ::1] mask):
    """Returns how many runs mask (h, w), not empty, has before gaps are closed."""
    cdef ptrdiff_t count
    cdef ih_pace pace = ih_pace(NULL, 0)
    if mask.size == 0:
        raise ValueError("the mask is empty")
    with nogil:
        ih_runs_count(&mask[0, 0], mask.shape[1], mask.shape[0], mask.shape[1], &pace, &count)
    return count


def runs_find(const uint8_t[:, ::1] mask, int64_t bridge, int64_t[::1] row, int64_t[::1] start, int64_t[::1] end):
    """Fills row, start and end, each of runs_count(mask) > 0 elements; returns how many runs there are."""
    cdef ih_runs runs = runs_of(row, start, end)
    cdef int status
    cdef ih_pace pace = ih_pace(NULL, 0)
    if mask.size == 0:
        raise ValueError("the mask is empty")
    with nogil:
        status = ih_runs_find(&mask[0, 0], mask.shape[1], mask.shape[0], mask.shape[1], bridge, &pace, &runs)
    if status:
        raise ValueError("row, start and end have no room for the runs of this mask")
    return runs.count


def runs_label(const int64_t[::1] row, const int64_t[::1] start, const int64_t[::1] end, bint diagonal,
               int64_t[::1] labels):
    """Fills labels (count); returns the number of components."""
    cdef ih_runs runs = runs_of(row, start, end)
    cdef int64_t components
    cdef ih_pace pace = ih_pace(NULL, 0)
    if labels.shape[0] != runs.count:
        raise ValueError("labels is as long as the runs")
    with nogil:
        ih_runs_label(&runs, diagonal, &pace, &labels[0], &components)
    return components


def runs_bounds(const int64_t[::1] row, const int64_t[::1] start, const int64_t[::1] end, const int64_t[::1] labels,
                int64_t[:, ::1] boxes):
    """Fills boxes (components, 5) of x, y, w, h, pixels."""
    cdef ih_runs runs = runs_of(row, start, end)
    cdef int status
    cdef ih_pace pace = ih_pace(NULL, 0)
    if labels.shape[0] != runs.count or boxes.shape[0] == 0 or boxes.shape[1] != 5:
        raise ValueError("labels is as long as the runs, boxes is (components, 5)")
    with nogil:
        status = ih_runs_bounds(&runs, &labels[0], boxes.shape[0], &pace, <int64_t (*)[5]>&boxes[0, 0])
    if status:
        raise ValueError(f"labels are not all the numbers 0..{boxes.shape[0] - 1}")


def runs_paint(const int64_t[::1] row, const int64_t[::1] start, const int64_t[::1] end, const uint8_t[::1] chosen,
               uint8_t[:, ::1] mask):
    """Sets the pixels of the chosen runs in mask (h, w), which was 0."""
    cdef ih_runs runs = runs_of(row, start, end)
    cdef int status
    cdef ih_pace pace = ih_pace(NULL, 0)
    if chosen.shape[0] != runs.count or mask.size == 0:
        raise ValueError("chosen is as long as the runs, the mask is not empty")
    with nogil:
        status = ih_runs_paint(&runs, &chosen[0], &pace, &mask[0, 0], mask.shape[0], mask.shape[1])
    if status:
        raise ValueError(f"a run leaves the mask of {mask.shape[0]} x {mask.shape[1]} pixels")


def find_edges(const uint8_t[:, :, :] pixels, uint8_t[:, :] edges, int top, int left, int bottom, int right,
               uintptr_t gate):
    """Fills edges (h, w) in rows top..bottom, columns left..right; returns 1 if the gate closed meanwhile, else 0."""
    cdef ih_frame frame
    cdef int status
    cdef ih_pace pace = ih_pace(<const ih_gate *>gate, 0)
    frame_of(pixels, &frame)
    if edges.shape[0] != frame.h or edges.shape[1] != frame.w or edges.strides[1] != 1:
        raise ValueError(f"edges is (h, w) of the frame, {frame.h} x {frame.w}, and the columns of a row lie together")
    if not (0 <= top <= bottom <= frame.h and 0 <= left <= right <= frame.w):
        raise ValueError(f"rows {top}..{bottom} and columns {left}..{right} leave the frame of {frame.h} x {frame.w}")
    with nogil:
        status = ih_find_edges(&frame, top, left, bottom, right, &pace, &edges[0, 0], edges.strides[0])
    return status


cdef class Arena:
    """Working memory that is kept between calls, and grows when a call finds it too small."""

    cdef Memory memory
    cdef size_t size

    def __cinit__(self, size_t size):
        self.size = size
        self.memory = Memory(size)

    @property
    def bytes(self):
        return self.size

    cdef int grow(self) except -1:
        self.memory = None
        self.memory = Memory(2 * self.size)
        self.size *= 2
        return 0


def find_layout(const uint8_t[:, :, :] pixels, const uint8_t[:, :] edges, Arena arena not None, uintptr_t gate):
    """Returns (status, texts, shapes): the items of layout.h as bytes; status is 1 if the gate closed meanwhile."""
    cdef ih_frame frame
    cdef ih_edges directed
    cdef ih_arena memory
    cdef ih_layout_items texts, shapes
    cdef int status = IH_ENOMEM
    cdef ih_pace pace = ih_pace(<const ih_gate *>gate, 0)
    frame_of(pixels, &frame)
    if edges.shape[0] != frame.h or edges.shape[1] != frame.w or edges.strides[1] != 1:
        raise ValueError(f"edges is (h, w) of the frame, {frame.h} x {frame.w}, and the columns of a row lie together")
    directed.at, directed.stride, directed.h, directed.w = &edges[0, 0], edges.strides[0], frame.h, frame.w
    while status == IH_ENOMEM:
        memory.start, memory.size, memory.used = <uint8_t *>arena.memory.start, arena.size, 0
        with nogil:
            status = ih_find_layout(&frame, &directed, &pace, &memory, &texts, &shapes)
        if status == IH_ENOMEM:
            arena.grow()
    if status:
        return status, b"", b""
    return (status, (<const char *>texts.items)[:texts.count * sizeof(ih_layout_item)],
            (<const char *>shapes.items)[:shapes.count * sizeof(ih_layout_item)])


cdef int check_boxes(const int32_t[:, ::1] boxes, ptrdiff_t others) except -1:
    if boxes.shape[0] == 0 or boxes.shape[1] != 4 or others != boxes.shape[0]:
        raise ValueError("boxes is (n, 4), n > 0, and what goes with them has n elements")
    return 0


def strongest(const uint8_t[:, :, :] pixels, const int32_t[:, ::1] boxes, const uint32_t[::1] papers,
              uint32_t[::1] colours, uintptr_t gate):
    """Fills colours (n) from boxes (n, 4) and papers (n); returns 1 if the gate closed meanwhile, else 0."""
    cdef ih_frame frame
    cdef int status
    cdef ih_pace pace = ih_pace(<const ih_gate *>gate, 0)
    frame_of(pixels, &frame)
    check_boxes(boxes, papers.shape[0])
    check_boxes(boxes, colours.shape[0])
    with nogil:
        status = ih_strongest(&frame, <const int32_t (*)[4]>&boxes[0, 0], &papers[0], boxes.shape[0], &pace,
                              &colours[0])
    return status


def contrast(const uint8_t[:, :, :] pixels, uint8_t[:, ::1] out, uintptr_t gate):
    """Fills out (h, w) from all of pixels (h, w, 4); returns 1 if the gate closed meanwhile, else 0."""
    cdef ih_frame frame
    cdef int status
    cdef int32_t box[4]
    cdef ih_pace pace = ih_pace(<const ih_gate *>gate, 0)
    frame_of(pixels, &frame)
    if out.shape[0] != frame.h or out.shape[1] != frame.w:
        raise ValueError(f"out must be ({frame.h}, {frame.w})")
    box[0], box[1], box[2], box[3] = 0, 0, frame.w, frame.h
    cdef size_t count = <size_t>frame.h * <size_t>frame.w
    cdef Memory keys = Memory(8 * count)
    with nogil:
        status = ih_contrast(&frame, box, &pace, <uint32_t *>keys.start, <uint32_t *>keys.start + count, &out[0, 0])
    return status


def box_crcs(const uint8_t[:, :, :] pixels, const int32_t[:, ::1] boxes, uint32_t[::1] crcs, uintptr_t gate):
    """Fills crcs (n) from boxes (n, 4); returns 1 if the gate closed meanwhile, else 0."""
    cdef ih_frame frame
    cdef int status
    cdef ih_pace pace = ih_pace(<const ih_gate *>gate, 0)
    frame_of(pixels, &frame)
    check_boxes(boxes, crcs.shape[0])
    with nogil:
        status = ih_box_crcs(&frame, <const int32_t (*)[4]>&boxes[0, 0], boxes.shape[0], &pace, &crcs[0])
    return status


def box_names(const uint8_t[:, :, :] pixels, const int32_t[:, ::1] boxes, const uint64_t[::1] key,
              uint8_t[:, ::1] names, uintptr_t gate):
    """Fills names (n, 16) from boxes (n, 4) under a key of two words; returns 1 if the gate closed meanwhile, else 0."""
    cdef ih_frame frame
    cdef int status
    cdef ptrdiff_t k
    cdef size_t most = 0
    cdef ih_pace pace = ih_pace(<const ih_gate *>gate, 0)
    frame_of(pixels, &frame)
    check_boxes(boxes, names.shape[0])
    if key.shape[0] != 2 or names.shape[1] != IH_HASH_BYTES:
        raise ValueError("the key has two words, names is (n, 16)")
    for k in range(boxes.shape[0]):
        if boxes[k, 2] > 0 and boxes[k, 3] > 0:
            most = max(most, <size_t>min(boxes[k, 2], frame.w) * <size_t>min(boxes[k, 3], frame.h))
    cdef Memory words = Memory(8 * (most // 2 + 2))
    with nogil:
        status = ih_box_names(&frame, <const int32_t (*)[4]>&boxes[0, 0], boxes.shape[0], &key[0], &pace,
                              <uint64_t *>words.start, <uint8_t (*)[IH_HASH_BYTES]>&names[0, 0])
    return status


def thumbnails(const uint8_t[:, :, :] pixels, const int32_t[:, ::1] boxes, const uint32_t[::1] fills,
               float[:, ::1] thumbs, uintptr_t gate):
    """Fills thumbs (n, THUMB * THUMB) from boxes (n, 4) and fills (n); returns 1 if the gate closed, else 0."""
    cdef ih_frame frame
    cdef int status
    cdef ih_pace pace = ih_pace(<const ih_gate *>gate, 0)
    frame_of(pixels, &frame)
    check_boxes(boxes, fills.shape[0])
    check_boxes(boxes, thumbs.shape[0])
    if thumbs.shape[1] != IH_THUMB * IH_THUMB:
        raise ValueError(f"thumbs must be (n, {IH_THUMB * IH_THUMB})")
    with nogil:
        status = ih_thumbnails(&frame, <const int32_t (*)[4]>&boxes[0, 0], &fills[0], boxes.shape[0], &pace,
                               &thumbs[0, 0])
    return status


def count_like(const int32_t[:, ::1] boxes, const int32_t[::1] kinds, const uint8_t[:, ::1] fills,
               const int32_t[::1] lines, int32_t[:, ::1] counts):
    """Fills counts (n, COUNTS) from boxes (n, 4), kinds (n), fills (n, 3) and lines (n)."""
    check_boxes(boxes, kinds.shape[0])
    check_boxes(boxes, fills.shape[0])
    check_boxes(boxes, lines.shape[0])
    check_boxes(boxes, counts.shape[0])
    if fills.shape[1] != 3 or counts.shape[1] != IH_COUNTS:
        raise ValueError(f"fills must be (n, 3) and counts (n, {IH_COUNTS})")
    with nogil:
        ih_count_like(<const int32_t (*)[4]>&boxes[0, 0], &kinds[0], <const uint8_t (*)[3]>&fills[0, 0], &lines[0],
                      boxes.shape[0], <int32_t (*)[IH_COUNTS]>&counts[0, 0])


def nearest(const int32_t[:, ::1] boxes, const uint8_t[::1] chosen, int64_t[::1] found, uint8_t[::1] beside):
    """Fills found (n) and beside (n) from boxes (n, 4) and chosen (n)."""
    check_boxes(boxes, chosen.shape[0])
    check_boxes(boxes, found.shape[0])
    check_boxes(boxes, beside.shape[0])
    with nogil:
        ih_nearest(<const int32_t (*)[4]>&boxes[0, 0], &chosen[0], boxes.shape[0], &found[0], &beside[0])


def smallest_around(const int32_t[:, ::1] boxes, const uint8_t[::1] holders, bint is_larger, int64_t[::1] found):
    """Fills found (n) from boxes (n, 4) and holders (n)."""
    check_boxes(boxes, holders.shape[0])
    check_boxes(boxes, found.shape[0])
    with nogil:
        ih_smallest_around(<const int32_t (*)[4]>&boxes[0, 0], &holders[0], boxes.shape[0], is_larger, &found[0])


def box_pairs(const float[:, ::1] places, const int64_t[::1] spelled, const float[:, ::1] links, float[:, :, :] pairs):
    """Fills channels of pairs (26 or more, n, n), whose rows may be any stride apart, from places (n, 4), spelled (n) and
    links (n, 2)."""
    cdef ptrdiff_t count = places.shape[0]
    if places.shape[1] != 4 or spelled.shape[0] != count or links.shape[0] != count or links.shape[1] != 2:
        raise ValueError("places must be (n, 4), spelled (n) and links (n, 2)")
    if pairs.shape[0] < 26 or pairs.shape[1] != count or pairs.shape[2] != count or pairs.strides[2] != sizeof(float):
        raise ValueError("pairs must be (26 or more, n, n), the floats of a row together")
    if count == 0:
        return
    with nogil:
        ih_box_pairs(<const float (*)[4]>&places[0, 0], &spelled[0], <const float (*)[2]>&links[0, 0], count,
                     pairs.strides[0] // <ptrdiff_t>sizeof(float), pairs.strides[1] // <ptrdiff_t>sizeof(float),
                     &pairs[0, 0, 0])
