# The doorway to the graph engine (kernels/graph/graph.h): the tables that Python and C share, and one step of a run.
# It knows nothing of ONNX: kernels/graph/compile.py writes the ops, kernels/graph/model.py keeps their memory.
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uintptr_t
from libc.string cimport memcpy, memset

cdef extern from "common/gate_word.h":
    enum: IH_DONE
    enum: IH_PREEMPTED
    ctypedef struct ih_gate:
        pass

from kernels.common.pool cimport IH_POOL_MOST, pool_count

cdef extern from "graph/graph.h":
    enum: IH_GRAPH_PARAMS
    enum: IH_GRAPH_REGIONS
    enum: IH_EWISE_BLOCK
    enum: IH_EWISE_REGS
    enum: IH_EWISE_SPREADS
    enum: IH_OP_KINDS
    enum: IH_OP_EWISE
    ctypedef void ih_graph_kernel(const int64_t *p, uint8_t *const *region, int64_t first, int64_t last) noexcept nogil
    ctypedef struct ih_graph_op:
        int64_t kind
        int64_t p[IH_GRAPH_PARAMS]
    ctypedef struct ih_graph_run:
        const ih_graph_op *ops
        int64_t op_count, op, unit
        uint8_t *region[IH_GRAPH_REGIONS]
    ctypedef struct ih_graph_variant:
        const char *name
        int (*is_supported)() noexcept nogil
        int signed_activations
        double macs_per_ns
        int tile_px
        ih_graph_kernel *kernel[IH_OP_KINDS]
    const ih_graph_variant *ih_graph_variant_at(int index) nogil
    double ih_graph_peak_gops() nogil
    double ih_graph_peak_tiles_gops() nogil
    int ih_graph_step(ih_graph_run *run, const ih_graph_variant *variant, const ih_gate *gate, int threads) nogil

cdef extern from *:
    """
    typedef struct ih_table_row { const char *kind; const char *name; } ih_table_row;
    #define IH_NAME_ROW(f) {IH_KIND, #f},
    static const ih_table_row ih_param_names[] = {
    #define IH_KIND "conv"
        IH_PARAMS_CONV(IH_NAME_ROW)
    #undef IH_KIND
    #define IH_KIND "depthwise"
        IH_PARAMS_DEPTHWISE(IH_NAME_ROW)
    #undef IH_KIND
    #define IH_KIND "ewise"
        IH_PARAMS_EWISE(IH_NAME_ROW)
    #undef IH_KIND
    #define IH_KIND "copy"
        IH_PARAMS_COPY(IH_NAME_ROW)
    #undef IH_KIND
    #define IH_KIND "halo"
        IH_PARAMS_HALO(IH_NAME_ROW)
    #undef IH_KIND
    #define IH_KIND "pool"
        IH_PARAMS_POOL(IH_NAME_ROW)
    #undef IH_KIND
    #define IH_KIND "mean"
        IH_PARAMS_MEAN(IH_NAME_ROW)
    #undef IH_KIND
    #define IH_KIND "rows"
        IH_PARAMS_ROWS(IH_NAME_ROW)
    #undef IH_KIND
    #define IH_KIND "pack"
        IH_PARAMS_PACK(IH_NAME_ROW)
    #undef IH_KIND
    #define IH_KIND "conv_f32"
        IH_PARAMS_CONV_F32(IH_NAME_ROW)
    #undef IH_KIND
    #define IH_KIND "planes"
        IH_PARAMS_PLANES(IH_NAME_ROW)
    #undef IH_KIND
    };
    enum { IH_PARAM_NAMES = sizeof ih_param_names / sizeof *ih_param_names };
    #define IH_KIND_ROW(id, name, params) #name,
    static const char *const ih_kind_names[] = {IH_GRAPH_OPS(IH_KIND_ROW)};
    #define IH_EW_ROW(id, name, operands) #name,
    static const char *const ih_ewise_names[] = {IH_EWISE_OPS(IH_EW_ROW)};
    """
    ctypedef struct ih_table_row:
        const char *kind
        const char *name
    const ih_table_row ih_param_names[]
    enum: IH_PARAM_NAMES
    enum: IH_EW_OPS
    const char *const ih_kind_names[]
    const char *const ih_ewise_names[]

EWISE_BLOCK = IH_EWISE_BLOCK
EWISE_REGS = IH_EWISE_REGS
EWISE_SPREADS = IH_EWISE_SPREADS
PARAMS = IH_GRAPH_PARAMS
MAX_THREADS = IH_POOL_MOST
REGIONS = IH_GRAPH_REGIONS
KINDS = tuple(ih_kind_names[i].decode("ascii") for i in range(IH_OP_KINDS))
EWISE_OPS = {ih_ewise_names[i].decode("ascii"): i for i in range(IH_EW_OPS)}


def _param_names():
    names = {kind: [] for kind in KINDS}
    for i in range(IH_PARAM_NAMES):
        names[ih_param_names[i].kind.decode("ascii")].append(ih_param_names[i].name.decode("ascii"))
    return {kind: tuple(fields) for kind, fields in names.items()}


PARAM_NAMES = _param_names()


def pool_counts():
    """Returns (jobs shared out, chunks that workers did, times that the caller waited for one that had lost its core)."""
    return pool_count()


def variants():
    """Returns (name, runs on this CPU, signed activations, multiply-adds a nanosecond, pixels a tile) of each variant, best
    first."""
    cdef const ih_graph_variant *v
    found = []
    index = 0
    while True:
        v = ih_graph_variant_at(index)
        if v == NULL:
            return tuple(found)
        found.append((v.name.decode("ascii"), bool(v.is_supported()), bool(v.signed_activations), v.macs_per_ns, v.tile_px))
        index += 1


cdef const ih_graph_variant *_variant(str name) except NULL:
    cdef const ih_graph_variant *v
    index = 0
    while True:
        v = ih_graph_variant_at(index)
        if v == NULL:
            raise ValueError(f"no variant {name!r}")
        if v.name.decode("ascii") == name:
            if not v.is_supported():
                raise ValueError(f"this CPU lacks what the variant {name!r} needs")
            return v
        index += 1


def peak_gops():
    """Returns the int8 GOP/s that this core's dot-product instruction reaches now, 0 where none is known."""
    cdef double found
    with nogil:
        found = ih_graph_peak_gops()
    return found


def peak_tiles_gops():
    """Returns the int8 GOP/s that this core's tiles reach now, 0 where it has none."""
    cdef double found
    with nogil:
        found = ih_graph_peak_tiles_gops()
    return found


def evaluate(bytes code, list leaves, float scale, int zero, int result, bint quantised, float out_scale, int out_zero):
    """Returns the 256 results of an element-wise program, as u8 or f32 bytes.

    A leaf is the u8 array of all 256 values, dequantised by `scale` and `zero`, or a float32 array of one value. The
    reference kernel computes them, so that a table holds exactly what the machine would have written.
    """
    cdef int64_t p[IH_GRAPH_PARAMS]
    cdef uint8_t *region[IH_GRAPH_REGIONS]
    memset(p, 0, sizeof(p))
    names = PARAM_NAMES["ewise"]
    table = bytearray()
    for index, leaf in enumerate(leaves):
        is_u8 = leaf.dtype == "uint8"
        record = bytearray(88)
        (<int64_t *><char *>record)[0] = ((<int64_t>3 + index) << 56)
        (<int64_t *><char *>record)[5] = 0 if is_u8 else 1
        (<int64_t *><char *>record)[6] = 1
        (<int64_t *><char *>record)[7] = 1
        (<int64_t *><char *>record)[8] = is_u8
        (<int64_t *><char *>record)[9] = zero
        (<float *><char *>record)[20] = scale
        table += record
    if len(leaves) > IH_GRAPH_REGIONS - 3:
        raise ValueError("too many leaves")
    out = bytearray(1024)
    keep = [leaf.tobytes() for leaf in leaves]
    region[0] = <uint8_t *><char *>out
    region[1] = <uint8_t *><const char *>code
    region[2] = <uint8_t *><char *>table
    for index in range(len(keep)):
        region[3 + index] = <uint8_t *><const char *>(<bytes>keep[index])
    values = {"program": <int64_t>1 << 56, "instructions": len(code) // 8, "leaves": len(leaves), "leaf_table": <int64_t>2 << 56,
              "d0": 1, "d1": 1, "d2": 1, "d3": 1, "row": 256, "out": 0, "result": result, "out_kind": int(quantised),
              "out_zero": out_zero, "chunk": 256, "chunks": 1, "segment": 0, "segment_step": 0}
    for name, value in values.items():
        p[names.index(name)] = value
    memcpy(&p[names.index("out_scale")], &out_scale, 4)
    _variant("scalar").kernel[IH_OP_EWISE](p, region, 0, 1)
    return bytes(out[:256] if quantised else out)


cdef class Runner:
    """A plan's ops over memory regions that it keeps alive: buffers, or None for a region that the plan does not use."""

    cdef ih_graph_run run
    cdef const ih_graph_variant *variant
    cdef Py_buffer views[IH_GRAPH_REGIONS]
    cdef int held
    cdef bytes ops

    def __cinit__(self, bytes ops, str variant, tuple regions, tuple writable):
        self.held = 0
        if len(ops) % sizeof(ih_graph_op) or len(regions) > IH_GRAPH_REGIONS or len(writable) != len(regions):
            raise ValueError("ops or regions of the wrong size")
        self.variant = _variant(variant)
        self.ops = ops
        memset(&self.run, 0, sizeof(self.run))
        self.run.ops = <const ih_graph_op *><const char *>ops
        self.run.op_count = len(ops) // sizeof(ih_graph_op)
        for index in range(self.run.op_count):
            if not 0 <= self.run.ops[index].kind < IH_OP_KINDS:
                raise ValueError(f"op {index} is of no known kind")
        for region, may_write in zip(regions, writable):
            if region is None:
                region = b""
            PyObject_GetBuffer(region, &self.views[self.held], PyBUF_WRITABLE if may_write else PyBUF_SIMPLE)
            self.run.region[self.held] = <uint8_t *>self.views[self.held].buf
            self.held += 1

    def __dealloc__(self):
        for index in range(self.held):
            PyBuffer_Release(&self.views[index])

    def step(self, uintptr_t gate=0, int threads=1):
        """Runs on, with up to `threads` threads; returns True when done, False when the gate (address of an ih_gate, 0:
        none) closed."""
        cdef int status
        with nogil:
            status = ih_graph_step(&self.run, self.variant, <const ih_gate *>gate, threads)
        return status == IH_DONE

    @property
    def position(self):
        """(op, unit) that comes next."""
        return self.run.op, self.run.unit

    def run_op(self, Py_ssize_t index):
        """Runs one op whole, for profiles and tests."""
        cdef const ih_graph_op *op
        if not 0 <= index < self.run.op_count:
            raise IndexError(index)
        op = &self.run.ops[index]
        with nogil:
            self.variant.kernel[op.kind](op.p, self.run.region, 0, op.p[0])
