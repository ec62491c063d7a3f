# The doorway to the language-model hall (lm.h): weights in memory, a model over them, sequences, steps.
# It checks shapes and offsets, because the C below trusts them; kernels/lm/model.py is the face.
from libc.stdint cimport int8_t, int32_t, uint8_t, uint16_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset, strerror

cdef extern from "common/gate_word.h":
    enum: IH_PREEMPTED
    ctypedef struct ih_gate:
        pass

from kernels.common.pool cimport IH_POOL_MOST, pool_count

cdef extern from "lm/memory.h":
    void *ih_lm_map(size_t size) nogil
    void ih_lm_unmap(void *at, size_t size) nogil
    uint64_t ih_lm_read_all(const void *at, size_t size) nogil
    void *ih_lm_map_file(const char *path, size_t offset, size_t size) nogil
    void ih_lm_unmap_file(void *at, size_t size) nogil
    int ih_lm_read_file(const char *path, size_t offset, void *to, size_t size) nogil

cdef extern from "lm/lm.h":
    enum: IH_LM_TYPES
    enum: IH_LM_F16
    enum: IH_LM_Q6_K
    enum: IH_LM_QUERIES
    ctypedef struct ih_lm_matrix:
        const uint8_t *data
        int32_t type, rows, cols
    ctypedef struct ih_lm_input:
        const int8_t *q
        const float *scale
        const float *scaled_sum
        const int32_t *neg128
        const int32_t *half
        const float *values
        int32_t tokens, cols
    ctypedef struct ih_lm_layer:
        const float *attn_norm
        const float *ffn_norm
        ih_lm_matrix q, k, v, o, gate, up, down
    ctypedef struct ih_lm_model:
        int32_t n_layer, n_embd, n_ffn, n_head, n_kv_head, head_dim, rope_dim, n_vocab
        float epsilon
        const double *rope_frequency
        ih_lm_layer *layers
        ih_lm_matrix embed, head
        const float *out_norm
    ctypedef struct ih_lm_kv:
        void *k
        void *v
        float *k_scale
        float *v_scale
        int32_t groups, head_dim
    ctypedef struct ih_lm_queries:
        const float **q
        float **out
        int32_t *first
        int32_t *last
        int32_t count
        float scale
        float *scores
        size_t score_stride
    ctypedef struct ih_lm_sequence:
        uint8_t *k
        uint8_t *v
        float *k_scale
        float *v_scale
        int32_t kv_type, groups, window
    ctypedef void (*matmul_fn)(const ih_lm_matrix *, const ih_lm_input *, int32_t, int32_t, float *, size_t, int) noexcept nogil
    ctypedef void (*attend_fn)(const ih_lm_kv *, const ih_lm_queries *) noexcept nogil
    ctypedef struct ih_lm_wide:
        void (*pack)(const float *, int32_t, int32_t, uint16_t *) noexcept nogil
        void (*matmul)(const ih_lm_matrix *, const uint16_t *, int32_t, int32_t, int32_t, float *, size_t, int, void *) noexcept nogil
    ctypedef struct ih_lm_variant:
        const char *name
        int (*supported)() noexcept nogil
        int32_t macs_per_us
        matmul_fn *matmul
        void (*quantise)(const float *, int8_t *, float *, float *, int32_t *, int32_t *) noexcept nogil
        void (*rmsnorm)(const float *, const float *, int32_t, float, float *) noexcept nogil
        void (*rope)(float *, const float *, const float *, int32_t) noexcept nogil
        void (*swiglu)(const float *, const float *, int32_t, float *) noexcept nogil
        void (*to_f16)(const float *, int32_t, uint16_t *) noexcept nogil
        attend_fn *attend
        const ih_lm_wide *wide
    ctypedef struct ih_lm_step:
        int32_t n_tokens, n_wide
        const int32_t *tokens
        const int32_t *positions
        ih_lm_sequence **sequences
        int32_t n_outputs
        const int32_t *outputs
        int32_t n_head_panels
        const int32_t *head_panels
        float *logits
        size_t logits_stride
        int32_t op, item, chunk_budget, max_tokens, max_threads
        const ih_lm_variant *variant
    ctypedef struct ih_lm_sampling:
        float temperature
        int32_t top_k
        float top_p, min_p
        uint64_t seed
    const ih_lm_variant *ih_lm_variant_at(int32_t index) nogil
    size_t ih_lm_panel_bytes(int32_t type, int32_t cols) nogil
    void ih_lm_row(const ih_lm_matrix *w, int32_t row, float *y) nogil
    size_t ih_lm_step_bytes(const ih_lm_step *step, const ih_lm_model *model, int32_t max_positions) nogil
    void ih_lm_step_carve(ih_lm_step *step, const ih_lm_model *model, int32_t max_positions, void *scratch) nogil
    int32_t ih_lm_batch_limit(const ih_lm_model *model, const ih_lm_variant *variant, int wide) nogil
    int ih_lm_is_wide(const ih_lm_model *model, const ih_lm_variant *variant) nogil
    int32_t ih_lm_wide_tokens(const ih_lm_model *model, const ih_lm_step *step) nogil
    enum: IH_LM_WIDE_LEAST
    int ih_lm_run(const ih_lm_model *model, ih_lm_step *step, const ih_gate *gate, int32_t threads) nogil
    int32_t ih_lm_sample(const float *logits, int32_t n, const ih_lm_sampling *sampling, uint64_t at, float *scratch) nogil
    int32_t ih_lm_argmax(const float *x, int32_t n) nogil


MAX_THREADS = IH_POOL_MOST


def pool_counts():
    """Returns (jobs shared out, chunks that workers did, times that the caller waited for one that had lost its core)."""
    return pool_count()


def variants(bint exact=False):
    """Returns the names of the variants that this machine can run, slowest first; with `exact`, those without wide kernels."""
    names = []
    cdef int32_t index = 0
    cdef const ih_lm_variant *variant = ih_lm_variant_at(0)
    while variant != NULL:
        if variant.supported() and not (exact and variant.wide != NULL):
            names.append(variant.name.decode())
        index += 1
        variant = ih_lm_variant_at(index)
    return names


cdef const ih_lm_variant *find_variant(str name) except NULL:
    cdef int32_t index = 0
    cdef const ih_lm_variant *variant = ih_lm_variant_at(0)
    while variant != NULL:
        if variant.name.decode() == name and variant.supported():
            return variant
        index += 1
        variant = ih_lm_variant_at(index)
    raise ValueError(f"variant {name!r} does not run here; this machine has {', '.join(variants())}")


cdef class Weights:
    """The stream of a packed model in huge pages: the file's own where the system has them (`mapped`), else a copy."""

    cdef uint8_t *data
    cdef readonly size_t size
    cdef readonly bint mapped

    def __cinit__(self, bytes path, size_t offset, size_t size):
        cdef int status
        cdef const char *name = path
        self.size = size
        with nogil:
            self.data = <uint8_t *>ih_lm_map_file(name, offset, size)
        self.mapped = self.data != NULL
        if self.mapped:
            return
        self.data = <uint8_t *>ih_lm_map(size)
        if self.data == NULL:
            raise MemoryError(f"{size} bytes for weights")
        with nogil:
            status = ih_lm_read_file(name, offset, self.data, size)
        if status < 0:
            raise OSError(-status, strerror(-status).decode(), path.decode(errors="replace"))

    def __dealloc__(self):
        if self.mapped:
            ih_lm_unmap_file(self.data, self.size)
        else:
            ih_lm_unmap(self.data, self.size)

    def read_all(self):
        """Reads every byte once and returns a sum: what a bench measures as the roof of decode."""
        cdef uint64_t total
        with nogil:
            total = ih_lm_read_all(self.data, self.size)
        return total


cdef class Model:
    """Shapes and pointers into a Weights, every one checked to lie inside."""

    cdef ih_lm_model model
    cdef readonly Weights weights
    cdef dict entries

    def __cinit__(self, Weights weights not None, dict config, dict entries):
        cdef ih_lm_model *m = &self.model
        cdef int32_t layer
        self.weights, self.entries = weights, entries
        m.n_layer, m.n_embd, m.n_ffn = config["n_layer"], config["n_embd"], config["n_ffn"]
        m.n_head, m.n_kv_head, m.head_dim = config["n_head"], config["n_kv_head"], config["head_dim"]
        m.rope_dim, m.n_vocab, m.epsilon = config["rope_dim"], config["n_vocab"], config["epsilon"]
        if not (m.n_layer > 0 and m.n_embd > 0 and m.n_ffn > 0 and m.n_kv_head > 0 and m.n_head > 0 and m.n_vocab > 0
                and m.n_embd % 32 == m.n_ffn % 32 == m.n_head * m.head_dim % 32 == 0 and m.n_head % m.n_kv_head == 0
                and 0 < m.head_dim <= 256 and m.head_dim % 16 == 0
                and 0 < m.rope_dim <= m.head_dim and m.rope_dim % 2 == 0):
            raise ValueError(f"these shapes are not ones that the kernels run: {config}")
        m.layers = <ih_lm_layer *>calloc(m.n_layer, sizeof(ih_lm_layer))
        if m.layers == NULL:
            raise MemoryError("layers")
        heads, kv = m.n_head * m.head_dim, m.n_kv_head * m.head_dim
        for layer in range(m.n_layer):
            self.fill(&m.layers[layer], f"blk.{layer}.", heads, kv)
        m.rope_frequency = <const double *>self.vector("rope", m.rope_dim // 2, 8)
        m.out_norm = <const float *>self.vector("output_norm.weight", m.n_embd, 4)
        m.embed = self.matrix("token_embd.weight", m.n_vocab, m.n_embd)
        m.head = m.embed if config["tied"] else self.matrix("output.weight", m.n_vocab, m.n_embd)

    def __dealloc__(self):
        free(self.model.layers)

    cdef int fill(self, ih_lm_layer *l, str prefix, int32_t heads, int32_t kv) except -1:
        cdef int32_t width = self.model.n_embd, ffn = self.model.n_ffn
        l.attn_norm = <const float *>self.vector(prefix + "attn_norm.weight", width, 4)
        l.q = self.matrix(prefix + "attn_q.weight", heads, width)
        l.k = self.matrix(prefix + "attn_k.weight", kv, width)
        l.v = self.matrix(prefix + "attn_v.weight", kv, width)
        l.o = self.matrix(prefix + "attn_output.weight", width, heads)
        l.ffn_norm = <const float *>self.vector(prefix + "ffn_norm.weight", width, 4)
        l.gate = self.matrix(prefix + "ffn_gate.weight", ffn, width)
        l.up = self.matrix(prefix + "ffn_up.weight", ffn, width)
        l.down = self.matrix(prefix + "ffn_down.weight", width, ffn)
        return 0

    cdef const uint8_t *inside(self, str name, size_t offset, size_t size) except NULL:
        if offset % 64 or size > self.weights.size or offset > self.weights.size - size:
            raise ValueError(f"{name}: bytes [{offset}, {offset + size}) are not in the stream of {self.weights.size}")
        return self.weights.data + offset

    cdef const uint8_t *vector(self, str name, int32_t count, size_t unit) except NULL:
        _, _, rows, cols, offset = self.entries[name]
        if (rows, cols) != (1, count):
            raise ValueError(f"{name} has shape ({rows}, {cols}), expected (1, {count})")
        return self.inside(name, offset, count * unit)

    cdef ih_lm_matrix matrix(self, str name, int32_t rows, int32_t cols) except *:
        cdef ih_lm_matrix w
        _, kind, found_rows, found_cols, offset = self.entries[name]
        if (found_rows, found_cols) != (rows, cols) or cols % 32 or not 0 <= kind < IH_LM_TYPES:
            raise ValueError(f"{name} has type {kind}, shape ({found_rows}, {found_cols}), expected ({rows}, {cols})")
        w.type, w.rows, w.cols = kind, rows, cols
        w.data = self.inside(name, offset, <size_t>((rows + 15) // 16) * ih_lm_panel_bytes(kind, cols))
        return w

    def batch_limit(self, str variant not None, bint wide=False):
        """Returns the most tokens of one step that keep every chunk of work short with this variant; with `wide`, of one
        that is all long prompts."""
        return ih_lm_batch_limit(&self.model, find_variant(variant), wide)

    def wide_least(self, str variant not None):
        """Returns how many tokens of a sequence in a step are a long prompt, which the variant's wide kernels take; 0: none."""
        return IH_LM_WIDE_LEAST if ih_lm_is_wide(&self.model, find_variant(variant)) else 0


cdef class Sequence:
    """One sequence's KV cache: `capacity` positions (a multiple of 16) in a ring, f16 or int8."""

    cdef ih_lm_sequence seq
    cdef uint8_t *memory
    cdef readonly Model model
    cdef readonly size_t size
    cdef readonly int32_t capacity

    def __cinit__(self, Model model not None, int32_t capacity, bint int8, int32_t window):
        cdef size_t heads = <size_t>model.model.n_layer * model.model.n_kv_head
        cdef size_t slots = heads * capacity, values
        if capacity <= 0 or capacity % 16 or window < 0:
            raise ValueError(f"capacity {capacity} must be a positive multiple of 16, window {window} not negative")
        values = slots * model.model.head_dim * (1 if int8 else 2)
        self.model, self.capacity = model, capacity
        self.size = 2 * values + (8 * slots if int8 else 0)
        self.memory = <uint8_t *>ih_lm_map(self.size)
        if self.memory == NULL:
            raise MemoryError(f"{self.size} bytes for a KV cache")
        self.seq.k, self.seq.v = self.memory, self.memory + values
        if int8:
            self.seq.k_scale = <float *>(self.memory + 2 * values)
            self.seq.v_scale = self.seq.k_scale + slots
        self.seq.kv_type, self.seq.groups, self.seq.window = int8, capacity // 16, window

    def __dealloc__(self):
        ih_lm_unmap(self.memory, self.size)

    def copy_from(self, Sequence other not None):
        """Takes over the other's keys and values; both must have one shape."""
        if other.model is not self.model or other.size != self.size or other.capacity != self.capacity:
            raise ValueError("the caches differ in shape")
        with nogil:
            memcpy(self.memory, other.memory, self.size)

    def wipe(self):
        """Zeroes the cache: nothing of what was read stays."""
        with nogil:
            memset(self.memory, 0, self.size)


cdef class Step:
    """All tokens of one request through all layers; may be stopped by the gate and gone on with."""

    cdef ih_lm_step step
    cdef uint8_t *scratch
    cdef size_t scratch_size
    cdef int32_t[::1] tokens, positions, outputs, panels
    cdef ih_lm_sequence **pointers
    cdef list held
    cdef readonly Model model
    cdef readonly int32_t max_tokens, max_positions, max_threads
    cdef readonly bint pending
    cdef float[:, ::1] logits

    def __cinit__(self, Model model not None, str variant not None, int32_t max_tokens, int32_t max_positions,
                  int32_t max_threads=1):
        if not 0 < max_tokens <= 65536 or not 0 < max_positions <= 1 << 24:
            raise ValueError(f"max_tokens {max_tokens} or max_positions {max_positions} is out of range")
        if not 0 < max_threads <= IH_POOL_MOST:
            raise ValueError(f"max_threads {max_threads} is not between 1 and {IH_POOL_MOST}")
        self.model, self.max_tokens, self.max_positions, self.max_threads = model, max_tokens, max_positions, max_threads
        self.step.max_tokens, self.step.max_threads = max_tokens, max_threads
        self.step.variant = find_variant(variant)
        self.scratch_size = ih_lm_step_bytes(&self.step, &model.model, max_positions)
        self.scratch = <uint8_t *>ih_lm_map(self.scratch_size)
        self.pointers = <ih_lm_sequence **>calloc(max_tokens, sizeof(void *))
        if self.scratch == NULL or self.pointers == NULL:
            raise MemoryError(f"{self.scratch_size} bytes of scratch")
        ih_lm_step_carve(&self.step, &model.model, max_positions, self.scratch)

    def __dealloc__(self):
        ih_lm_unmap(self.scratch, self.scratch_size)
        free(self.pointers)

    def begin(self, int32_t[::1] tokens not None, int32_t[::1] positions not None, list sequences not None,
              int32_t[::1] outputs not None, float[:, ::1] logits, int32_t[::1] panels=None):
        """Asks for a step: token i at positions[i] of sequences[i]; logits (outputs, columns) float32 are filled for the
        tokens named by `outputs`, over the whole vocabulary or over `panels` of 16 rows each. Leading runs of `wide_least`
        tokens and more take the variant's wide kernels. Raises ValueError."""
        cdef int32_t i, count = tokens.shape[0], vocab_panels = (self.model.model.n_vocab + 15) // 16
        cdef Sequence sequence
        if not 0 < count <= self.max_tokens or positions.shape[0] != count or len(sequences) != count:
            raise ValueError(f"{count} tokens, {positions.shape[0]} positions, {len(sequences)} sequences; at most {self.max_tokens}")
        spans = {}
        for i in range(count):
            sequence = sequences[i]
            if sequence is None or sequence.model is not self.model:
                raise ValueError(f"sequence {i} belongs to another model")
            if not 0 <= tokens[i] < self.model.model.n_vocab:
                raise ValueError(f"token {tokens[i]} is not in the vocabulary of {self.model.model.n_vocab}")
            if positions[i] < 0 or positions[i] >= 1 << 30:
                raise ValueError(f"position {positions[i]} is out of range")
            first = max(0, positions[i] - sequence.seq.window + 1) if sequence.seq.window else 0
            low, high = spans.get(sequence, (first, positions[i]))
            low, high = min(low, first), max(high, positions[i])
            if high - low >= min(sequence.capacity, self.max_positions):
                raise ValueError(f"positions {low} to {high} are needed at once, the cache has {sequence.capacity}, "
                                 f"the step {self.max_positions}")
            spans[sequence] = low, high
            self.pointers[i] = &sequence.seq
        wanted = vocab_panels if panels is None else panels.shape[0]
        if outputs.shape[0] > self.max_tokens:
            raise ValueError(f"{outputs.shape[0]} outputs, at most {self.max_tokens}")
        for i in range(outputs.shape[0]):
            if not 0 <= outputs[i] < count:
                raise ValueError(f"output {outputs[i]} is none of the {count} tokens")
        if outputs.shape[0] and (logits is None or logits.shape[0] < outputs.shape[0] or logits.shape[1] < 16 * wanted):
            raise ValueError(f"logits must be float32 ({outputs.shape[0]}, {16 * wanted}) or larger")
        if panels is not None:
            for i in range(panels.shape[0]):
                if not 0 <= panels[i] < vocab_panels:
                    raise ValueError(f"head panel {panels[i]} is not in [0, {vocab_panels})")
        self.tokens, self.positions, self.held = tokens.copy(), positions.copy(), list(sequences)
        self.outputs = outputs.copy() if outputs.shape[0] else None  # an empty memoryview cannot be copied
        self.logits = logits
        self.step.n_tokens, self.step.tokens, self.step.positions = count, &self.tokens[0], &self.positions[0]
        self.step.sequences = self.pointers
        self.step.n_outputs = outputs.shape[0]
        self.step.outputs = &self.outputs[0] if outputs.shape[0] else NULL
        self.step.logits = &logits[0, 0] if outputs.shape[0] and logits.shape[1] else NULL
        self.step.logits_stride = logits.shape[1] if outputs.shape[0] else 0
        self.step.n_head_panels, self.step.head_panels = -1, NULL
        if panels is not None:
            self.panels = panels.copy() if panels.shape[0] else None
            self.step.n_head_panels = panels.shape[0]
            self.step.head_panels = &self.panels[0] if panels.shape[0] else NULL
        self.step.n_wide = ih_lm_wide_tokens(&self.model.model, &self.step)
        self.step.op = self.step.item = 0
        self.pending = True

    def run(self, uintptr_t gate=0, int32_t chunk_budget=0, int32_t threads=1):
        """Goes on with the step, with up to `threads` threads (at most max_threads); True when it is done, False when the
        gate (a `const ih_gate *`) closed.

        `chunk_budget` > 0 stops after that many chunks of work, as a closing gate would, and has one thread."""
        cdef int status
        if not self.pending:
            raise ValueError("no step has begun")
        self.step.chunk_budget = chunk_budget
        with nogil:
            status = ih_lm_run(&self.model.model, &self.step, <const ih_gate *>gate, threads)
        self.pending = status == IH_PREEMPTED
        return not self.pending


def sample(float[::1] logits not None, float[::1] scratch not None, float temperature, int32_t top_k, float top_p,
           float min_p, uint64_t seed, uint64_t position):
    """Draws an index of `logits`; `scratch` has twice its length. The draw depends on (seed, position) only."""
    cdef ih_lm_sampling sampling
    cdef int32_t drawn, count = logits.shape[0]
    if count == 0 or scratch.shape[0] < 2 * count:
        raise ValueError(f"{count} logits, scratch of {scratch.shape[0]}")
    sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p = temperature, top_k, top_p, min_p
    sampling.seed = seed
    with nogil:
        drawn = ih_lm_sample(&logits[0], count, &sampling, position, &scratch[0])
    return drawn


def argmax(float[::1] logits not None):
    """Returns the index of the largest value, the lowest of equals."""
    if logits.shape[0] == 0:
        raise ValueError("no logits")
    return ih_lm_argmax(&logits[0], logits.shape[0])


def quantise(str variant not None, float[::1] x not None, int8_t[::1] q not None):
    """Quantises one block of 32 into q; returns (scale, scaled_sum, neg128, half) as `struct ih_lm_input` means them."""
    cdef float scale, scaled_sum
    cdef int32_t neg128, half
    if x.shape[0] != 32 or q.shape[0] != 32:
        raise ValueError("a block is 32 values")
    find_variant(variant).quantise(&x[0], &q[0], &scale, &scaled_sum, &neg128, &half)
    return scale, scaled_sum, neg128, half


def matmul(str variant not None, int32_t kind, const uint8_t[:, ::1] panels not None, float[:, ::1] x not None,
           float[:, ::1] y not None, bint add=False):
    """y (tokens, 16 * panels) = or += x (tokens, cols) times the transposed packed matrix; one kernel, for tests."""
    cdef const ih_lm_variant *v = find_variant(variant)
    cdef ih_lm_matrix w
    cdef ih_lm_input inputs
    cdef int32_t tokens = x.shape[0], cols = x.shape[1], blocks = x.shape[1] // 32
    if not 0 <= kind < IH_LM_TYPES or cols % 32 or not tokens or <size_t>panels.shape[1] != ih_lm_panel_bytes(kind, cols):
        raise ValueError(f"type {kind}, {cols} columns, panels of {panels.shape[1]} bytes")
    if y.shape[0] != tokens or y.shape[1] < 16 * panels.shape[0]:
        raise ValueError(f"y is ({y.shape[0]}, {y.shape[1]}), expected ({tokens}, {16 * panels.shape[0]})")
    cdef size_t count = <size_t>blocks * tokens
    cdef char[::1] memory = bytearray(count * 48 + 64)
    cdef uint8_t *base = <uint8_t *>((<uintptr_t>&memory[0] + 63) // 64 * 64)
    cdef int8_t *q = <int8_t *>base
    cdef float *scale = <float *>(base + 32 * count)
    cdef float *scaled_sum = scale + count
    cdef int32_t *neg128 = <int32_t *>(scaled_sum + count)
    cdef int32_t *half = neg128 + count
    cdef size_t t, b, at
    for t in range(tokens):
        for b in range(blocks):
            at = b * tokens + t
            v.quantise(&x[t, 32 * b], q + 32 * at, scale + at, scaled_sum + at, neg128 + at, half + at)
    w.data, w.type, w.rows, w.cols = &panels[0, 0], kind, 16 * panels.shape[0], cols
    inputs.q, inputs.scale, inputs.scaled_sum, inputs.neg128, inputs.half = q, scale, scaled_sum, neg128, half
    inputs.values, inputs.tokens, inputs.cols = &x[0, 0], tokens, cols
    with nogil:
        v.matmul[kind](&w, &inputs, 0, w.rows // 16, &y[0, 0], y.shape[1], add)


def matmul_wide(str variant not None, int32_t kind, const uint8_t[:, ::1] panels not None, float[:, ::1] x not None,
                float[:, ::1] y not None, bint add=False):
    """As `matmul`, by the variant's wide kernel, which has Q4_0, Q4_1 and Q8_0; for tests."""
    cdef const ih_lm_variant *v = find_variant(variant)
    cdef ih_lm_matrix w
    cdef int32_t tokens = x.shape[0], cols = x.shape[1], t, whole = (x.shape[0] + 15) // 16 * 16
    if v.wide == NULL or not 0 <= kind < IH_LM_Q6_K:
        raise ValueError(f"variant {variant!r} has no wide kernel for type {kind}")
    if cols % 32 or not tokens or <size_t>panels.shape[1] != ih_lm_panel_bytes(kind, cols):
        raise ValueError(f"type {kind}, {cols} columns, panels of {panels.shape[1]} bytes")
    if y.shape[0] != tokens or y.shape[1] < 16 * panels.shape[0]:
        raise ValueError(f"y is ({y.shape[0]}, {y.shape[1]}), expected ({tokens}, {16 * panels.shape[0]})")
    cdef size_t packed = <size_t>whole * cols * 2
    cdef char[::1] memory = bytearray(packed + <size_t>cols * 64 + 64)
    cdef uint8_t *base = <uint8_t *>((<uintptr_t>&memory[0] + 63) // 64 * 64)
    for t in range(tokens):
        v.wide.pack(&x[t, 0], cols, t, <uint16_t *>base)
    w.data, w.type, w.rows, w.cols = &panels[0, 0], kind, 16 * panels.shape[0], cols
    with nogil:
        v.wide.matmul(&w, <uint16_t *>base, tokens, 0, w.rows // 16, &y[0, 0], y.shape[1], add, base + packed)


def rmsnorm(str variant not None, float[::1] x not None, float[::1] weight not None, float epsilon, float[::1] y not None):
    if not x.shape[0] or x.shape[0] % 32 or weight.shape[0] != x.shape[0] or y.shape[0] != x.shape[0]:
        raise ValueError("lengths do not fit")
    find_variant(variant).rmsnorm(&x[0], &weight[0], x.shape[0], epsilon, &y[0])


def swiglu(str variant not None, float[::1] gate not None, float[::1] up not None, float[::1] y not None):
    if not gate.shape[0] or gate.shape[0] % 32 or up.shape[0] != gate.shape[0] or y.shape[0] != gate.shape[0]:
        raise ValueError("lengths do not fit")
    find_variant(variant).swiglu(&gate[0], &up[0], gate.shape[0], &y[0])


def to_f16(str variant not None, float[::1] x not None, uint16_t[::1] y not None):
    if not x.shape[0] or x.shape[0] % 16 or y.shape[0] != x.shape[0]:
        raise ValueError("lengths do not fit")
    find_variant(variant).to_f16(&x[0], x.shape[0], &y[0])
