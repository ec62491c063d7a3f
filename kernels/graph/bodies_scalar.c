/* The plain kernels (bodies.h) for the baseline of the machine. */
#include "graph/strict_float.h"
#define BODY(name) ih_##name##_scalar
#include "graph/bodies.h"
