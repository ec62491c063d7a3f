/* What a .cu file of ours needs of CUDA, on an ordinary processor, for tests: its arithmetic, its memory, and its threads
 * in lockstep where they speak to each other.
 *
 *   launch ─► for each block: its threads as coroutines, run one after the other until each waits or is over
 *             a warp's lanes wait at __shfl_xor_sync, a block's threads at __syncthreads; when all have come, they go on
 *
 * A lane that is missing at a shuffle (it returned, or waits elsewhere), which a GPU leaves undefined, ends the test. So does
 * an access outside of what was allocated, where the address sanitizer looks. Threads run in turn, so races do not show.
 */
#pragma once
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define __CUDA_ARCH__ 870
#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(n)

struct dim3_ { unsigned x, y, z; };
struct float2 { float x, y; };
struct int4 { int x, y, z, w; };
static inline float2 make_float2(float x, float y) { return float2{x, y}; }
static inline int4 make_int4(int x, int y, int z, int w) { return int4{x, y, z, w}; }

#define MOST_THREADS 1024
#define STACK (64 << 10)
enum wait_for { NOTHING, SHUFFLE, BARRIER, END };

static dim3_ blockIdx, gridDim, threadIdx, blockDim;
static struct machine {
    ucontext_t scheduler, fresh[MOST_THREADS];
    sigjmp_buf back, at[MOST_THREADS];
    enum wait_for waits[MOST_THREADS];
    uint64_t given[MOST_THREADS];
    int thread, started[MOST_THREADS];
    void (*kernel)(void **);
    void **arguments;
} machine;

static void machine_wait(enum wait_for what)
{
    int thread = machine.thread;
    machine.waits[thread] = what;
    if (_setjmp(machine.at[thread]) == 0)
        _longjmp(machine.back, 1);
}

/* A thread's coroutine lives for ever, and does that thread of one block after the other: starting one is a system call. */
static void machine_thread(void)
{
    for (;;) {
        machine.kernel(machine.arguments);
        machine_wait(END);
    }
}

static void machine_run(int thread)
{
    machine.thread = thread;
    threadIdx.x = thread;
    machine.waits[thread] = NOTHING;
    if (_setjmp(machine.back))
        return;
    if (machine.started[thread])
        _longjmp(machine.at[thread], 1);
    machine.started[thread] = 1;
    ucontext_t *fresh = &machine.fresh[thread];
    getcontext(fresh);
    fresh->uc_stack.ss_sp = malloc(STACK);
    fresh->uc_stack.ss_size = STACK;
    fresh->uc_link = NULL;
    makecontext(fresh, machine_thread, 0);
    swapcontext(&machine.scheduler, fresh);
}

static void machine_block(int threads)
{
    for (int t = 0; t < threads; t++)
        machine.waits[t] = NOTHING;
    for (;;) {
        int over = 0, barred = 0, moved = 0;
        for (int t = 0; t < threads; t++)
            if (machine.waits[t] == NOTHING)
                machine_run(t), moved = 1;
        for (int first = 0; first < threads; first += 32) {
            int shuffled = 0, lanes = threads - first < 32 ? threads - first : 32;
            for (int t = first; t < first + lanes; t++)
                shuffled += machine.waits[t] == SHUFFLE;
            if (shuffled && shuffled != 32) {
                fprintf(stderr, "block %u, warp %d: %d of 32 lanes came to a shuffle\n", blockIdx.x, first / 32, shuffled);
                abort();
            }
            for (int t = first; shuffled && t < first + lanes; t++)
                machine.waits[t] = NOTHING, moved = 1;
        }
        for (int t = 0; t < threads; t++)
            over += machine.waits[t] == END, barred += machine.waits[t] == BARRIER;
        if (over == threads)
            return;
        if (barred && barred + over == threads)
            for (int t = 0; t < threads; t++)
                machine.waits[t] = machine.waits[t] == BARRIER ? NOTHING : machine.waits[t], moved = 1;
        if (!moved) {
            fprintf(stderr, "block %u: threads wait for each other for ever\n", blockIdx.x);
            abort();
        }
    }
}

static void machine_launch(void (*kernel)(void **), void **arguments, unsigned blocks, int threads)
{
    machine.kernel = kernel, machine.arguments = arguments;
    gridDim = {blocks, 1, 1}, blockDim = {(unsigned)threads, 1, 1};
    for (unsigned b = 0; b < blocks; b++) {
        blockIdx = {b, 0, 0};
        machine_block(threads);
    }
}

static inline void __syncthreads(void) { machine_wait(BARRIER); }

template <typename T> static T __shfl_xor_sync(unsigned mask, T value, int apart)
{
    int thread = machine.thread;
    T other;
    if (mask != 0xffffffffu)
        abort();
    memcpy(&machine.given[thread], &value, sizeof value);
    machine_wait(SHUFFLE);
    memcpy(&other, &machine.given[thread ^ apart], sizeof other);
    machine_wait(SHUFFLE); /* nobody writes the next value before everybody has read this one */
    return other;
}

template <typename T> static inline T __ldcs(const T *at) { return *at; }
template <typename T> static inline T __ldg(const T *at) { return *at; }
static inline unsigned long long atomicMax(unsigned long long *at, unsigned long long value)
{
    unsigned long long was = *at;
    *at = value > was ? value : was;
    return was;
}
static inline int __dp4a(int a, int b, int c)
{
    for (int i = 0; i < 4; i++)
        c += (int)(int8_t)(a >> 8 * i) * (int)(int8_t)(b >> 8 * i);
    return c;
}
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline uint32_t __float_as_uint(float value) { uint32_t bits; memcpy(&bits, &value, 4); return bits; }
static inline float __uint_as_float(uint32_t bits) { float value; memcpy(&value, &bits, 4); return value; }
