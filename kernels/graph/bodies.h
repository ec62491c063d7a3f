/* The kernels whose C is plain enough for the compiler to vectorise, once for each instruction set:
 * bodies_<isa>.c sets the target, defines BODY(name) as ih_<name>_<isa>, and includes this. Without contraction of
 * multiply-add the float results are the same bits in all of them. */
#include "graph/graph.h"
#include "graph/math_body.h"
#include "graph/ewise_body.h"
#include "graph/rows_body.h"
#include "graph/image_body.h"
#include "graph/float_body.h"
