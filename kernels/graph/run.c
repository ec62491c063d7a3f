/* Runs a compiled graph: op after op, unit after unit, looking at the gate at least every IH_GATE_POLL_NS of work. With more
 * than one thread the units of an op are shared out (common/pool.h); who runs a unit is not seen in the result. */
#include "common/pool.h"
#include "graph/graph.h"

/* Polls come after this much estimated work: half of what is promised, as estimates are only that. */
#define POLL_AFTER_NS (IH_GATE_POLL_NS / 2)
/* Less than this is not worth handing out: a worker that is awake takes about a microsecond to join and to be waited for. */
#define SHARED_NS 6000
#define CHUNKS_A_THREAD 4 /* so that threads of unequal speed end together */
#define CHUNK_LEAST_NS 1500

/* Kinds whose units may run in any order; the bands of a mean add up in theirs. */
static int is_shareable(int64_t kind) { return kind != IH_OP_MEAN && kind != IH_OP_HALO; }

typedef struct op_place {
    const ih_graph_op *op;
    ih_graph_run *run;
    const ih_graph_variant *variant;
} op_place;

static void work(void *context, int worker, int64_t begin, int64_t end) {
    const op_place *at = context;
    (void)worker;
    at->variant->kernel[at->op->kind](at->op->p, at->run->region, begin, end);
}

/* Units that a thread claims at once: short enough for the gate, and several for each thread. */
static int64_t chunk_of(int64_t units, int64_t unit_ns, int threads) {
    int64_t chunk = POLL_AFTER_NS / unit_ns, fair = units / ((int64_t)threads * CHUNKS_A_THREAD);
    const int64_t least = CHUNK_LEAST_NS / unit_ns;
    fair = fair > least ? fair : least;
    chunk = chunk < fair ? chunk : fair;
    return chunk < 1 ? 1 : chunk;
}

int ih_graph_step(ih_graph_run *run, const ih_graph_variant *variant, const ih_gate *gate, int threads) {
    int64_t spent_ns = POLL_AFTER_NS; /* the first look is before any work */
    int status = IH_DONE;
    threads = ih_pool_enter(threads);
    for (; run->op < run->op_count; run->op++, run->unit = 0) {
        const ih_graph_op *op = &run->ops[run->op];
        const int64_t units = op->p[IH_conv_units], unit_ns = op->p[IH_conv_unit_ns] > 0 ? op->p[IH_conv_unit_ns] : 1;
        if (threads > 1 && units - run->unit > 1 && (units - run->unit) * unit_ns > SHARED_NS && is_shareable(op->kind)) {
            op_place at = {op, run, variant};
            run->unit = ih_pool_run(threads, work, &at, run->unit, units, chunk_of(units, unit_ns, threads), gate);
            spent_ns = POLL_AFTER_NS;
            if (run->unit < units) {
                status = IH_PREEMPTED;
                break;
            }
            continue;
        }
        while (run->unit < units) {
            if (gate && spent_ns >= POLL_AFTER_NS) {
                if (!ih_gate_is_open(gate)) {
                    ih_pool_leave(threads);
                    return IH_PREEMPTED;
                }
                spent_ns = 0;
            }
            int64_t left = units - run->unit, now = gate ? (POLL_AFTER_NS - spent_ns) / unit_ns : left;
            now = now < 1 ? 1 : now > left ? left : now;
            variant->kernel[op->kind](op->p, run->region, run->unit, run->unit + now);
            run->unit += now;
            spent_ns += now * unit_ns;
        }
    }
    ih_pool_leave(threads);
    return status;
}
