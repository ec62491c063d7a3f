/* Attacks the pool of threads: every item of every job is done exactly once, by whatever thread, also when the gate closes in
 * the middle, when several callers want the pool at once, and in a forked child. Exits 1 at the first item that is not.
 * Compiled by test_pool.py under the thread sanitizer and under ASan and UBSan. With "one-core", where a worker could only
 * take turns with its caller: it has to leave everything to it. */
#define _GNU_SOURCE
#include "common/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ITEMS = 4096, JOBS = 4000, CALLERS = 3 };

typedef struct job {
    _Atomic uint8_t times[ITEMS];
    int spin, threads;
    ih_gate_word *close_at_half;
} job;

static ih_gate_word gate_words[CALLERS];

static void open_gate(ih_gate_word *word)
{
    ih_gate_reading open = {.max_threads = 2, .state = IH_GATE_IS_OPEN, .gate_epoch = 1, .boot_id_hash = ih_boot_id_hash()};
    open.lease_until_ns = ih_boottime_ns() + IH_GATE_LEASE_MAX_NS - 1000000;
    ih_gate_write(word, &open);
}

static void work(void *context, int worker, int64_t begin, int64_t end)
{
    job *mine = context;
    if (worker < 0 || worker >= mine->threads)
        exit(3);
    for (int64_t i = begin; i < end; i++) {
        atomic_fetch_add_explicit(&mine->times[i], 1, memory_order_relaxed);
        for (volatile int k = 0; k < mine->spin; k++)
            ;
        /* One writer: the caller closes its own gate. */
        if (worker == 0 && mine->close_at_half && i >= ITEMS / 2) {
            ih_gate_reading closed = {.state = IH_GATE_CLOSED};
            ih_gate_write(mine->close_at_half, &closed);
            mine->close_at_half = NULL;
        }
    }
}

static void check(const job *done, int64_t begin, int64_t end, int expected, const char *what)
{
    for (int64_t i = begin; i < end; i++)
        if (done->times[i] != expected) {
            printf("%s: item %lld was done %d times, expected %d\n", what, (long long)i, done->times[i], expected);
            exit(1);
        }
}

static void run_jobs(int caller, int jobs)
{
    job *mine = malloc(sizeof *mine);
    uint32_t draw = 12345u + (uint32_t)caller;
    for (int n = 0; n < jobs; n++) {
        draw = draw * 1664525u + 1013904223u;
        int64_t items = 1 + (draw >> 8) % ITEMS, chunk = 1 + (draw >> 20) % 64;
        memset(mine, 0, sizeof *mine);
        mine->spin = n % 7 ? 0 : 20;
        mine->threads = ih_pool_enter(1 + (int)(draw >> 28) % 4);
        int64_t reached = ih_pool_run(mine->threads, work, mine, 0, items, chunk, NULL);
        ih_pool_leave(mine->threads);
        if (reached != items)
            printf("stopped without a gate\n"), exit(1);
        check(mine, 0, items, 1, "whole job");
        check(mine, items, ITEMS, 0, "past the end");
    }
    free(mine);
}

/* Stops in the middle, then goes on with another number of threads. */
static void stop_and_go_on(int caller)
{
    job *mine = calloc(1, sizeof *mine);
    ih_gate gate = {.word = &gate_words[caller], .gate_epoch = 1, .boot_id_hash = ih_boot_id_hash()};
    for (int n = 0; n < 300; n++) {
        memset(mine, 0, sizeof *mine);
        open_gate(&gate_words[caller]);
        mine->close_at_half = &gate_words[caller];
        mine->threads = ih_pool_enter(3);
        int64_t reached = ih_pool_run(mine->threads, work, mine, 0, ITEMS, 16, &gate);
        ih_pool_leave(mine->threads);
        check(mine, 0, reached, 1, "before the stop");
        check(mine, reached, ITEMS, 0, "after the stop");
        if (reached < ITEMS && ih_pool_run(1, work, mine, reached, ITEMS, 16, &gate) != reached)
            printf("worked with the gate closed\n"), exit(1);
        mine->close_at_half = NULL;
        mine->threads = ih_pool_enter(1 + n % 4);
        reached = ih_pool_run(mine->threads, work, mine, reached, ITEMS, 16, NULL);
        ih_pool_leave(mine->threads);
        check(mine, 0, ITEMS, 1, "gone on with");
    }
    free(mine);
}

static void *caller_main(void *argument)
{
    int caller = (int)(intptr_t)argument;
    run_jobs(caller, JOBS);
    stop_and_go_on(caller);
    return NULL;
}

static int on_one_core(void)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    if (sched_setaffinity(0, sizeof one, &one))
        return 2;
    run_jobs(0, JOBS);
    stop_and_go_on(0);
    ih_pool_counts counts = ih_pool_count();
    printf("%llu jobs, %llu chunks by workers\n", (unsigned long long)counts.jobs,
           (unsigned long long)counts.chunks_of_workers);
    return counts.chunks_of_workers != 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "one-core"))
        return on_one_core();
    pthread_t callers[CALLERS];
    caller_main((void *)0);
    for (int i = 0; i < CALLERS; i++)
        if (pthread_create(&callers[i], NULL, caller_main, (void *)(intptr_t)i))
            return 2;
    for (int i = 0; i < CALLERS; i++)
        pthread_join(callers[i], NULL);
    if (argc == 1) { /* the thread sanitizer knows no fork of a process with threads */
        pid_t child = fork();
        if (child == 0) {
            run_jobs(0, 200);
            _exit(0);
        }
        int status = 1;
        if (waitpid(child, &status, 0) != child || status)
            printf("a forked child failed: %d\n", status), exit(1);
    }
    ih_pool_counts counts = ih_pool_count();
    if (!counts.chunks_of_workers)
        printf("no worker ever did anything\n"), exit(1);
    printf("%llu jobs, %llu chunks by workers, %llu late\n", (unsigned long long)counts.jobs,
           (unsigned long long)counts.chunks_of_workers, (unsigned long long)counts.late);
    return 0;
}
