/* The pool of threads: see pool.h. One a hall, since each hall is an extension of its own; it starts no thread before a
 * step asks for two. */
#define _GNU_SOURCE
#include "common/pool.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define RING 8 /* jobs whose descriptions are kept: a worker may still be reading the last one's */
#define CHUNK_BITS 26
#define CHUNK_MASK ((1ull << CHUNK_BITS) - 1)
#define THREAD_BITS 6
#define THREAD_MASK ((1ull << THREAD_BITS) - 1)
#define STACK_BYTES (512 << 10)

#define LATE_NS 60000LL          /* longer than a chunk takes: the worker has lost its core */
#define REST_LEAST_NS 4000000LL  /* how long the caller works alone after that: doubled each time, */
#define REST_MOST_NS 256000000LL /* up to this */
#define GOOD_NS 20000000LL       /* without a late worker: then the next rest is short again */

/* A job's description. Atomic because a late worker may read it while it is written anew; its claim then fails. */
typedef struct description {
    _Atomic(ih_pool_work *) work;
    _Atomic(void *) context;
    _Atomic int64_t begin, end, chunk, chunks;
} description;

static struct {
    _Alignas(64) _Atomic uint64_t word;
    _Alignas(64) _Atomic uint32_t done; /* chunks of this job that workers have finished; the caller may sleep on it */
    _Atomic uint32_t caller_sleeps;
    _Alignas(64) _Atomic uint32_t bell; /* workers sleep on it */
    _Atomic uint32_t sleepers;          /* whether any may: the caller need not ring otherwise */
    _Atomic uint32_t resting;           /* workers go to sleep at once */
    _Atomic uint32_t crowded;           /* a worker has no core but the caller's */
    _Atomic int caller_core;
    _Alignas(64) description ring[RING];
    _Atomic uint64_t jobs, helped, late;
    /* the owner's only */
    _Alignas(64) _Atomic int owned;
    int started;
    cpu_set_t allowed; /* set before the first worker starts */
    uint32_t generation;
    int64_t rest_ns, rest_until_ns, good_since_ns;
} pool;

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000LL + now.tv_nsec;
}

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void futex_wait(_Atomic uint32_t *at, uint32_t value)
{
    syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *at, int count)
{
    syscall(SYS_futex, at, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

/* Claims the next chunk of the job that is published now and does it; returns 0 when there is none for `worker`. */
static int take(int worker, const uint32_t *only_generation)
{
    uint64_t word = atomic_load_explicit(&pool.word, memory_order_acquire);
    for (;;) {
        uint32_t generation = (uint32_t)(word >> 32);
        int64_t next = (int64_t)(word & CHUNK_MASK);
        description *job = &pool.ring[generation % RING];
        int64_t begin = GET(job->begin), end = GET(job->end), chunk = GET(job->chunk);
        ih_pool_work *work = GET(job->work);
        void *context = GET(job->context);
        if (next >= GET(job->chunks) || worker >= (int)(word >> CHUNK_BITS & THREAD_MASK))
            return 0;
        if (only_generation && generation != *only_generation)
            return 0;
        if (!atomic_compare_exchange_weak_explicit(&pool.word, &word, word + 1, memory_order_acq_rel, memory_order_acquire))
            continue; /* `word` is what stands there now */
        int64_t from = begin + next * chunk, to = end - from < chunk ? end : from + chunk;
        work(context, worker, from, to);
        return 1;
    }
}

/* Whether this worker would only take the caller's time: the scheduler has put both on one core, and there is no other. */
static int is_in_the_callers_way(void)
{
    const int core = sched_getcpu();
    if (core != GET(pool.caller_core))
        return 0;
    cpu_set_t others = pool.allowed;
    if (core >= 0 && core < CPU_SETSIZE)
        CPU_CLR(core, &others);
    if (CPU_COUNT(&others) && !sched_setaffinity(0, sizeof others, &others))
        return 0; /* moved to one of them */
    SET(pool.crowded, 1);
    return 1;
}

static void *worker_main(void *argument)
{
    int worker = (int)(intptr_t)argument;
    int64_t idle_since_ns = now_ns();
    prctl(PR_SET_NAME, "ih-pool");
    for (;;) {
        const int is_in_the_way = is_in_the_callers_way();
        if (!is_in_the_way && take(worker, NULL)) {
            atomic_fetch_add_explicit(&pool.helped, 1, memory_order_relaxed);
            atomic_fetch_add_explicit(&pool.done, 1, memory_order_seq_cst);
            if (atomic_load_explicit(&pool.caller_sleeps, memory_order_seq_cst))
                futex_wake(&pool.done, 1);
            idle_since_ns = now_ns();
            continue;
        }
        if (!is_in_the_way && !GET(pool.resting) && now_ns() - idle_since_ns < IH_POOL_SPIN_NS) {
            relax();
            continue;
        }
        /* The bell is read before it is announced that somebody sleeps, and the job looked at again after: either the
         * caller sees the announcement and rings, or this sees its job. */
        uint32_t heard = atomic_load_explicit(&pool.bell, memory_order_seq_cst);
        atomic_store_explicit(&pool.sleepers, 1, memory_order_seq_cst);
        uint64_t word = atomic_load_explicit(&pool.word, memory_order_seq_cst);
        int64_t chunks = GET(pool.ring[(word >> 32) % RING].chunks);
        if (is_in_the_way || (int64_t)(word & CHUNK_MASK) >= chunks || worker >= (int)(word >> CHUNK_BITS & THREAD_MASK))
            futex_wait(&pool.bell, heard);
        idle_since_ns = now_ns();
    }
    return NULL;
}

/* A forked child has no workers; nothing waits for those that are not there. */
static void forget_workers(void)
{
    pool.started = 0;
    SET(pool.owned, 0);
    SET(pool.sleepers, 0);
    SET(pool.caller_sleeps, 0);
}

static void start_workers(int threads)
{
    static _Atomic int is_watched;
    if (!atomic_exchange(&is_watched, 1))
        pthread_atfork(NULL, NULL, forget_workers);
    if (!pool.started)
        sched_getaffinity(0, sizeof pool.allowed, &pool.allowed);
    SET(pool.caller_core, sched_getcpu());
    pthread_attr_t attributes;
    sigset_t every, before;
    if (pthread_attr_init(&attributes))
        return;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before); /* signals are the process's own threads' */
    while (pool.started < threads - 1) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, worker_main, (void *)(intptr_t)(pool.started + 1)))
            break;
        pool.started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

int ih_pool_enter(int threads)
{
    int nobody = 0;
    threads = threads > IH_POOL_MOST ? IH_POOL_MOST : threads;
    if (threads <= 1 || !atomic_compare_exchange_strong(&pool.owned, &nobody, 1))
        return 1;
    if (pool.started < threads - 1)
        start_workers(threads);
    threads = pool.started + 1 < threads ? pool.started + 1 : threads;
    if (threads == 1)
        atomic_store(&pool.owned, 0);
    return threads;
}

void ih_pool_leave(int threads)
{
    if (threads > 1)
        atomic_store(&pool.owned, 0);
}

static int64_t run_alone(ih_pool_work *work, void *context, int64_t begin, int64_t end, int64_t chunk, const ih_gate *gate)
{
    while (begin < end && ih_gate_is_open(gate)) {
        int64_t to = end - begin < chunk ? end : begin + chunk;
        work(context, 0, begin, to);
        begin = to;
    }
    return begin;
}

/* Waits for the chunks that workers have claimed. Returns 1 when one of them was late. */
static int wait_for(uint32_t wanted)
{
    if (atomic_load_explicit(&pool.done, memory_order_acquire) == wanted)
        return 0;
    int64_t give_up_ns = now_ns() + LATE_NS;
    do {
        relax();
        if (atomic_load_explicit(&pool.done, memory_order_acquire) == wanted)
            return 0;
    } while (now_ns() < give_up_ns);
    SET(pool.resting, 1);
    atomic_store_explicit(&pool.caller_sleeps, 1, memory_order_seq_cst);
    for (uint32_t done; (done = atomic_load_explicit(&pool.done, memory_order_seq_cst)) != wanted;)
        futex_wait(&pool.done, done);
    atomic_store_explicit(&pool.caller_sleeps, 0, memory_order_seq_cst);
    return 1;
}

static void publish(int threads, ih_pool_work *work, void *context, int64_t begin, int64_t end, int64_t chunk)
{
    description *job = &pool.ring[++pool.generation % RING];
    SET(job->work, work);
    SET(job->context, context);
    SET(job->begin, begin);
    SET(job->end, end);
    SET(job->chunk, chunk);
    SET(job->chunks, (end - begin + chunk - 1) / chunk);
    SET(pool.done, 0);
    SET(pool.crowded, 0);
    SET(pool.caller_core, sched_getcpu());
    uint64_t word = (uint64_t)pool.generation << 32 | (uint64_t)threads << CHUNK_BITS;
    atomic_store_explicit(&pool.word, word, memory_order_seq_cst);
    if (atomic_load_explicit(&pool.sleepers, memory_order_seq_cst)) {
        atomic_store_explicit(&pool.sleepers, 0, memory_order_seq_cst);
        atomic_fetch_add_explicit(&pool.bell, 1, memory_order_seq_cst);
        futex_wake(&pool.bell, INT_MAX);
    }
}

int64_t ih_pool_run(int threads, ih_pool_work *work, void *context, int64_t begin, int64_t end, int64_t chunk,
                    const ih_gate *gate)
{
    if (threads <= 1 || end - begin <= chunk)
        return run_alone(work, context, begin, end, chunk, gate);
    int64_t started_ns = now_ns();
    if (started_ns < pool.rest_until_ns)
        return run_alone(work, context, begin, end, chunk, gate);
    if ((end - begin) / chunk >= (int64_t)CHUNK_MASK)
        chunk = (end - begin) / (int64_t)(CHUNK_MASK / 2) + 1;
    if (!ih_gate_is_open(gate))
        return begin;
    if (GET(pool.resting)) {
        SET(pool.resting, 0);
        pool.good_since_ns = started_ns;
    }
    publish(threads, work, context, begin, end, chunk);
    atomic_fetch_add_explicit(&pool.jobs, 1, memory_order_relaxed);
    uint32_t mine = 0, generation = pool.generation;
    while (take(0, &generation)) {
        mine++;
        if (!ih_gate_is_open(gate))
            break;
    }
    /* No further claims; what was claimed up to here is all that will be done. */
    uint64_t last = atomic_exchange_explicit(&pool.word, (uint64_t)generation << 32 | CHUNK_MASK, memory_order_acq_rel);
    int64_t claimed = (int64_t)(last & CHUNK_MASK);
    const int nobody_helped = claimed == mine && GET(pool.crowded);
    if (nobody_helped)
        SET(pool.resting, 1);
    if (wait_for((uint32_t)(claimed - mine)) || nobody_helped) {
        atomic_fetch_add_explicit(&pool.late, 1, memory_order_relaxed);
        pool.rest_ns = pool.rest_ns ? pool.rest_ns * 2 : REST_LEAST_NS;
        pool.rest_ns = pool.rest_ns > REST_MOST_NS ? REST_MOST_NS : pool.rest_ns;
        pool.rest_until_ns = now_ns() + pool.rest_ns;
    } else if (pool.rest_ns && started_ns - pool.good_since_ns > GOOD_NS) {
        pool.rest_ns = 0;
    }
    int64_t reached = begin + claimed * chunk;
    return reached < end ? reached : end;
}

ih_pool_counts ih_pool_count(void)
{
    return (ih_pool_counts){GET(pool.jobs), GET(pool.helped), GET(pool.late)};
}
