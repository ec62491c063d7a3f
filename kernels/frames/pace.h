/* How a long walk in small steps looks at its gate: after every IH_PACE_UNITS of work, a unit being about a nanosecond. */
#ifndef IH_PACE_H
#define IH_PACE_H

#include "common/gate_word.h"

#define IH_PACE_UNITS (IH_GATE_POLL_NS / 3) /* a third of what is promised: units are estimates, and cores are slower */

typedef struct ih_pace {
    const ih_gate *gate;
    int64_t done; /* units since the last look */
} ih_pace;

/* Counts `units` of work; 1 when the gate was found closed. */
static inline int ih_pace_stops(ih_pace *pace, int64_t units)
{
    pace->done += units;
    if (pace->done < IH_PACE_UNITS)
        return 0;
    pace->done = 0;
    return !ih_gate_is_open(pace->gate);
}

#endif
