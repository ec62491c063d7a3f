/* Runs a compiled graph: op after op, unit after unit, looking at the gate at least every IH_GATE_POLL_NS of work. */
#include "graph/graph.h"

/* Polls come after this much estimated work: half of what is promised, as estimates are only that. */
#define POLL_AFTER_NS (IH_GATE_POLL_NS / 2)

int ih_graph_step(ih_graph_run *run, const ih_graph_variant *variant, const ih_gate *gate) {
    int64_t spent_ns = POLL_AFTER_NS; /* the first look is before any work */
    for (; run->op < run->op_count; run->op++, run->unit = 0) {
        const ih_graph_op *op = &run->ops[run->op];
        const int64_t units = op->p[IH_conv_units], unit_ns = op->p[IH_conv_unit_ns] > 0 ? op->p[IH_conv_unit_ns] : 1;
        while (run->unit < units) {
            if (gate && spent_ns >= POLL_AFTER_NS) {
                if (!ih_gate_is_open(gate))
                    return IH_PREEMPTED;
                spent_ns = 0;
            }
            int64_t left = units - run->unit, now = gate ? (POLL_AFTER_NS - spent_ns) / unit_ns : left;
            now = now < 1 ? 1 : now > left ? left : now;
            variant->kernel[op->kind](op->p, run->region, run->unit, run->unit + now);
            run->unit += now;
            spent_ns += now * unit_ns;
        }
    }
    return IH_DONE;
}
