/* Threads that help with a step, such that they can never make it slower than it is alone.
 *
 *   caller   publishes a job (a range cut into chunks), claims chunks itself, and at the end waits only for chunks that a
 *            worker has claimed: never for a worker that has not started
 *   worker   spins IH_POOL_SPIN_NS for the next job, then sleeps on a futex
 *   word     generation:32 | threads:6 | next chunk:26, one atomic: a claim is a compare-and-swap that fails if the job
 *            has changed, so that a worker that overslept claims nothing of another job
 *
 * A worker that loses its core in the middle of a chunk makes the caller wait. The caller then sleeps, which lets the
 * scheduler run the worker on the caller's core, and afterwards works alone for a while that doubles each time (REST_*):
 * beside a neighbour that keeps the second core busy, what is lost is a share of those rare attempts. A worker that the
 * scheduler has put on the caller's own core moves to another one; where there is none it claims nothing and sleeps at once,
 * since it could only take turns with it.
 *
 * Who runs a chunk is not seen in the result: chunks are independent, so the bits are those of one thread.
 */
#ifndef IH_POOL_H
#define IH_POOL_H

#include "common/gate_word.h"

#include <stdint.h>

#define IH_POOL_MOST 16 /* threads of a job, the caller included */
#define IH_POOL_SPIN_NS 50000LL

/* Does items [begin, end); `worker` is 0 for the caller, else below the job's `threads`: an index for scratch. */
typedef void ih_pool_work(void *context, int worker, int64_t begin, int64_t end);

/* Takes the pool for a step and starts what threads it lacks. Returns how many may work, the caller included: 1 when
 * another step has it, or when no thread can be had. To be paired with ih_pool_leave(). */
int ih_pool_enter(int threads);
void ih_pool_leave(int threads);

/* Runs `work` over [begin, end) in chunks of `chunk` items with up to `threads` threads (as ih_pool_enter returned), and
 * looks at the gate before each chunk of the caller's. Returns the first item that was not done: `end`, or less when the
 * gate closed; everything before it is done. */
int64_t ih_pool_run(int threads, ih_pool_work *work, void *context, int64_t begin, int64_t end, int64_t chunk,
                    const ih_gate *gate);

/* What the pool has done since the process began, for benches and tests. */
typedef struct ih_pool_counts {
    uint64_t jobs, chunks_of_workers, late; /* late: jobs after which the caller went on alone for a while */
} ih_pool_counts;
ih_pool_counts ih_pool_count(void);

#endif
