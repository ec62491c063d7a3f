/* The seqlock over the gate word: see gate_word.h for the layout and the rule of *open*. */
#include "common/gate_word.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

int64_t ih_boottime_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000000000LL + now.tv_nsec;
}

uint64_t ih_boot_id_hash(void)
{
    static _Atomic uint64_t cached;
    uint64_t hash = atomic_load_explicit(&cached, memory_order_relaxed);
    if (hash)
        return hash;
    char text[64];
    int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    ssize_t length = read(file, text, sizeof text);
    close(file);
    if (length < 36) /* a UUID in text */
        return 0;
    hash = 0xcbf29ce484222325u; /* FNV-1a, 64 bits */
    for (int i = 0; i < 36; i++)
        hash = (hash ^ (uint8_t)text[i]) * 0x100000001b3u;
    atomic_store_explicit(&cached, hash, memory_order_relaxed);
    return hash;
}

#define LOAD(field) atomic_load_explicit(&word->field, memory_order_relaxed)
#define STORE(field, value) atomic_store_explicit(&word->field, (value), memory_order_relaxed)

int ih_gate_read(const ih_gate_word *word, ih_gate_reading *out)
{
    int64_t give_up_ns = 0;
    for (;;) {
        uint32_t before = atomic_load_explicit(&word->seq, memory_order_acquire);
        out->magic = LOAD(magic);
        out->version = LOAD(version);
        out->max_threads = LOAD(max_threads);
        out->state = LOAD(state);
        out->duty_permille = LOAD(duty_permille);
        out->reasons = LOAD(reasons);
        out->gate_epoch = LOAD(gate_epoch);
        out->lease_until_ns = LOAD(lease_until_ns);
        out->boot_id_hash = LOAD(boot_id_hash);
        out->power_budget_mW = LOAD(power_budget_mW);
        atomic_thread_fence(memory_order_acquire);
        if (!(before & 1) && LOAD(seq) == before)
            return IH_DONE;
        int64_t now_ns = ih_boottime_ns();
        if (!give_up_ns)
            give_up_ns = now_ns + 1000000;
        else if (now_ns > give_up_ns)
            return IH_EIO;
    }
}

void ih_gate_write(ih_gate_word *word, const ih_gate_reading *reading)
{
    /* A writer killed inside left seq odd: round up, so that it is odd while we write and even after. */
    uint32_t inside = (LOAD(seq) + 1) | 1;
    STORE(seq, inside);
    atomic_thread_fence(memory_order_release);
    STORE(magic, IH_GATE_MAGIC);
    STORE(version, IH_GATE_VERSION);
    STORE(max_threads, reading->max_threads);
    STORE(state, reading->state);
    STORE(reserved0, 0);
    STORE(duty_permille, reading->duty_permille);
    STORE(reasons, reading->reasons);
    STORE(gate_epoch, reading->gate_epoch);
    STORE(lease_until_ns, reading->lease_until_ns);
    STORE(boot_id_hash, reading->boot_id_hash);
    STORE(power_budget_mW, reading->power_budget_mW);
    atomic_store_explicit(&word->seq, inside + 1, memory_order_release);
}

int ih_gate_is_open(const ih_gate *gate)
{
    ih_gate_reading now;
    if (!gate)
        return 1;
    if (ih_gate_read(gate->word, &now) != IH_DONE)
        return 0;
    int64_t now_ns = ih_boottime_ns();
    return now.magic == IH_GATE_MAGIC && now.version == IH_GATE_VERSION && now.state == IH_GATE_IS_OPEN
        /* Compared before subtracted: a damaged lease must not overflow. */
        && now.lease_until_ns > now_ns && now.lease_until_ns - now_ns <= IH_GATE_LEASE_MAX_NS
        && gate->boot_id_hash && now.boot_id_hash == gate->boot_id_hash && now.gate_epoch == gate->gate_epoch
        && (!gate->until_ns || now_ns < gate->until_ns);
}
