# The doorway to the gate word (kernels/common/gate_word.h): one mapped word, and the token that kernels poll.
# It knows nothing of files, locks or policy: kernels/gate/word.py does.
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t

cdef extern from "common/gate_word.h":
    enum: IH_GATE_MAGIC
    enum: IH_GATE_VERSION
    enum: IH_DONE
    enum: IH_GATE_CLOSED
    enum: IH_GATE_WARMING
    enum: IH_GATE_IS_OPEN
    enum: IH_GATE_DRAINING
    enum: IH_GATE_FAULTED
    const int64_t IH_GATE_LEASE_MAX_NS
    const int64_t IH_GATE_POLL_NS
    ctypedef struct ih_gate_word:
        pass
    ctypedef struct ih_gate:
        const ih_gate_word *word
        uint64_t gate_epoch
        uint64_t boot_id_hash
        int64_t until_ns
    ctypedef struct ih_gate_reading:
        uint32_t magic
        uint16_t version
        uint16_t max_threads
        uint8_t state
        uint16_t duty_permille
        uint64_t reasons
        uint64_t gate_epoch
        int64_t lease_until_ns
        uint64_t boot_id_hash
        uint32_t power_budget_mW
    int64_t ih_boottime_ns() nogil
    uint64_t ih_boot_id_hash() nogil
    int ih_gate_read(const ih_gate_word *word, ih_gate_reading *out) nogil
    void ih_gate_write(ih_gate_word *word, const ih_gate_reading *reading) nogil
    int ih_gate_is_open(const ih_gate *gate) nogil

cdef extern from *:
    """
    typedef struct ih_gate_reason { int bit; const char *name; int urgent; } ih_gate_reason;
    #define IH_GATE_REASON_ROW(bit, name, urgent) {bit, #name, urgent},
    static const ih_gate_reason ih_gate_reasons[] = {IH_GATE_REASONS(IH_GATE_REASON_ROW)};
    enum { IH_GATE_REASON_COUNT = sizeof ih_gate_reasons / sizeof ih_gate_reasons[0] };
    """
    ctypedef struct ih_gate_reason:
        int bit
        const char *name
        bint urgent
    const ih_gate_reason ih_gate_reasons[]
    enum: IH_GATE_REASON_COUNT

MAGIC = IH_GATE_MAGIC
VERSION = IH_GATE_VERSION
SIZE = sizeof(ih_gate_word)
LEASE_MAX_NS = IH_GATE_LEASE_MAX_NS
POLL_NS = IH_GATE_POLL_NS
STATES = {
    "CLOSED": IH_GATE_CLOSED,
    "WARMING": IH_GATE_WARMING,
    "OPEN": IH_GATE_IS_OPEN,
    "DRAINING": IH_GATE_DRAINING,
    "FAULTED": IH_GATE_FAULTED,
}
REASONS = tuple(
    (ih_gate_reasons[i].bit, ih_gate_reasons[i].name.decode("ascii"), bool(ih_gate_reasons[i].urgent))
    for i in range(IH_GATE_REASON_COUNT)
)


def boottime_ns():
    return ih_boottime_ns()


def boot_id_hash():
    return ih_boot_id_hash()


cdef class Word:
    """A gate word in a buffer of 64 bytes (a mapping, or a bytearray in tests), which it keeps alive."""

    cdef Py_buffer view
    cdef bint held

    def __cinit__(self, buffer, bint writable=False):
        PyObject_GetBuffer(buffer, &self.view, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
        self.held = True
        if self.view.len != <Py_ssize_t>sizeof(ih_gate_word) or <uintptr_t>self.view.buf % 8:
            raise ValueError(f"a gate word has {sizeof(ih_gate_word)} bytes at a multiple of 8, got {self.view.len}")

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)

    def read(self):
        """Returns (consistent, magic, version, max_threads, state, duty_permille, reasons, gate_epoch, lease_until_ns,
        boot_id_hash, power_budget_mW); not consistent: the writer stayed inside for 1 ms."""
        cdef ih_gate_reading now
        cdef int status
        with nogil:
            status = ih_gate_read(<const ih_gate_word *>self.view.buf, &now)
        return (status == IH_DONE, now.magic, now.version, now.max_threads, now.state, now.duty_permille, now.reasons,
                now.gate_epoch, now.lease_until_ns, now.boot_id_hash, now.power_budget_mW)

    def write(self, *, uint16_t max_threads, uint8_t state, uint16_t duty_permille, uint64_t reasons,
              uint64_t gate_epoch, int64_t lease_until_ns, uint64_t boot_id_hash, uint32_t power_budget_mW):
        cdef ih_gate_reading next
        if self.view.readonly:
            raise TypeError("this gate word is mapped read-only")
        next.max_threads = max_threads
        next.state = state
        next.duty_permille = duty_permille
        next.reasons = reasons
        next.gate_epoch = gate_epoch
        next.lease_until_ns = lease_until_ns
        next.boot_id_hash = boot_id_hash
        next.power_budget_mW = power_budget_mW
        ih_gate_write(<ih_gate_word *>self.view.buf, &next)


cdef class Token:
    """What one caller started with: a word and an epoch, as the `struct ih_gate` that kernels poll."""

    cdef ih_gate gate
    cdef readonly Word word

    def __cinit__(self, Word word not None, uint64_t gate_epoch, int64_t until_ns=0):
        self.word = word
        self.gate.word = <const ih_gate_word *>word.view.buf
        self.gate.gate_epoch = gate_epoch
        self.gate.boot_id_hash = ih_boot_id_hash()
        self.gate.until_ns = until_ns

    @property
    def address(self):
        return <uintptr_t>&self.gate

    @property
    def gate_epoch(self):
        return self.gate.gate_epoch

    def is_open(self):
        return ih_gate_is_open(&self.gate) == 1
