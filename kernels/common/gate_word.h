/* The gate word: 64 bytes of shared memory by which the bridge lets work run, or not. This header is the contract.
 *
 *   offset size field            meaning
 *        0    4 magic            "IHGW", little-endian as everything below
 *        4    2 version          IH_GATE_VERSION; a reader refuses another
 *        6    2 max_threads      threads that the worker may keep busy
 *        8    4 seq              seqlock: odd while the writer is inside
 *       12    1 state            enum ih_gate_state
 *       13    1 reserved         0
 *       14    2 duty_permille    share of each 100 ms window that may be worked
 *       16    8 reasons          bits of the table IH_GATE_REASONS
 *       24    8 gate_epoch       grows at every closing, never falls, also over restarts
 *       32    8 lease_until_ns   CLOCK_BOOTTIME; the oldest safety input evaluated, plus the lease
 *       40    8 boot_id_hash     FNV-1a 64 of /proc/sys/kernel/random/boot_id: a file of another boot is closed
 *       48    4 power_budget_mW  what the compute may draw; 0 = not limited
 *       52   12 reserved         0
 *
 * *Open* means all of: state is IH_GATE_IS_OPEN, 0 < lease_until_ns - now <= IH_GATE_LEASE_MAX_NS, boot_id_hash is this
 * boot's, and gate_epoch is the one that the caller started with. Anything else is closed: a bridge that died, was
 * stopped, or slept with the machine lets the lease run out.
 *
 * Written under a seqlock with C11 atomics only (relaxed data, acquire/release fences; Boehm, "Can seqlocks get along
 * with programming language memory models?", MSPC 2012). The file is created once, at its full size, and only ever
 * written in place: a reader's mapping never goes stale.
 */
#ifndef IH_GATE_WORD_H
#define IH_GATE_WORD_H

#include <stdatomic.h>
#include <stdint.h>

#define IH_GATE_MAGIC 0x57474849u /* "IHGW" */
#define IH_GATE_VERSION 1
#define IH_GATE_LEASE_MAX_NS 200000000LL
#define IH_GATE_POLL_NS 50000LL /* kernels look at the word at least once per this much work */

/* Return codes of every native call. */
enum ih_status {
    IH_DONE = 0,
    IH_PREEMPTED = 1, /* the gate closed; the run's state is intact and the call can be made again */
    IH_EINVAL = -1,
    IH_ENOMEM = -2,
    IH_EIO = -3,
    IH_EUNSUPPORTED = -4,
    IH_ECORRUPT = -5,
};

enum ih_gate_state {
    IH_GATE_CLOSED = 0,
    IH_GATE_WARMING = 1,
    IH_GATE_IS_OPEN = 2,
    IH_GATE_DRAINING = 3,
    IH_GATE_FAULTED = 4,
};

/* Why the gate is not open: X(bit, name, urgent). An urgent reason is the car being wanted: it ends the worker at once,
 * where the others keep its paused run for hold_s. `idlehands why` speaks from the same table. */
#define IH_GATE_REASONS(X)             \
    X(0, starting, 0)                  \
    X(1, signal_absent, 0)             \
    X(2, signal_stale, 0)              \
    X(3, signal_invalid, 0)            \
    X(4, signals_contradict, 1)        \
    X(5, not_parked, 1)                \
    X(6, moving, 1)                    \
    X(7, ignition_on, 1)               \
    X(8, occupied, 1)                  \
    X(9, door_open, 1)                 \
    X(10, no_consent, 1)               \
    X(11, charge_below_floor, 0)       \
    X(12, charge_below_reserve, 0)     \
    X(13, not_charging, 0)             \
    X(14, low_12v, 0)                  \
    X(15, battery_too_hot, 0)          \
    X(16, battery_too_cold, 0)         \
    X(17, compute_too_hot, 0)          \
    X(18, cabin_too_hot, 0)            \
    X(19, energy_budget_spent, 0)      \
    X(20, outside_hours, 0)            \
    X(21, link_metered, 0)             \
    X(22, crash_detected, 1)           \
    X(23, low_power_mode, 0)           \
    X(24, ota_update, 1)               \
    X(25, dwell, 0)                    \
    X(26, bridge_was_stopped, 0)       \
    X(27, operator_pause, 0)           \
    X(28, fault, 1)                    \
    X(29, bus_asleep, 0)

typedef struct ih_gate_word {
    _Atomic uint32_t magic;
    _Atomic uint16_t version;
    _Atomic uint16_t max_threads;
    _Atomic uint32_t seq;
    _Atomic uint8_t state;
    _Atomic uint8_t reserved0;
    _Atomic uint16_t duty_permille;
    _Atomic uint64_t reasons;
    _Atomic uint64_t gate_epoch;
    _Atomic int64_t lease_until_ns;
    _Atomic uint64_t boot_id_hash;
    _Atomic uint32_t power_budget_mW;
    uint8_t reserved1[12];
} ih_gate_word;

_Static_assert(sizeof(ih_gate_word) == 64, "the gate word is one cache line");

/* What a caller started with. A kernel takes `const ih_gate *`; NULL means not gated (benches, unit tests).
 * until_ns (CLOCK_BOOTTIME): when the caller's share of this window is used up and it must pause; 0 is never. */
typedef struct ih_gate {
    const ih_gate_word *word;
    uint64_t gate_epoch;
    uint64_t boot_id_hash;
    int64_t until_ns;
} ih_gate;

/* One consistent reading of the word. */
typedef struct ih_gate_reading {
    uint32_t magic;
    uint16_t version;
    uint16_t max_threads;
    uint8_t state;
    uint16_t duty_permille;
    uint64_t reasons;
    uint64_t gate_epoch;
    int64_t lease_until_ns;
    uint64_t boot_id_hash;
    uint32_t power_budget_mW;
} ih_gate_reading;

int64_t ih_boottime_ns(void);
uint64_t ih_boot_id_hash(void); /* 0 when it cannot be read: then nothing is ever open */

/* Reads the word; IH_EIO when the writer stayed inside for 1 ms (it was stopped in there): treat it as closed. */
int ih_gate_read(const ih_gate_word *word, ih_gate_reading *out);

/* Writes the word; one writer. `reading.magic` and `.version` are set by the call. */
void ih_gate_write(ih_gate_word *word, const ih_gate_reading *reading);

/* 1 while the caller may go on, else 0. About 25 ns: a seqlock read and a clock read. */
int ih_gate_is_open(const ih_gate *gate);

#endif
