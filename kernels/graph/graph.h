/* The int8 graph engine: a compiled model is a flat list of ops over a few memory regions, run by one call.
 *
 *   op      kind + IH_GRAPH_PARAMS integers, named by the table of its kind below (Python fills them by these names)
 *   ref     where a tensor starts: region << 56 | byte offset
 *   region  0 arena (planned, reused) · 1 packed weights (shared by all plans) · 2 constants of the plan
 *           3... the caller's inputs, then its outputs
 *   unit    the smallest piece of an op that is run between two looks at the gate; units are independent and write
 *           nothing that a unit of the same op reads, so that a run goes on after a pause with the same bits
 *
 * Activations are u8 with a zero point (s8 models are shifted by 128 at compile time, which is exact), images are NHWC, the
 * accumulators int32. Requantisation is onnxruntime's: float(acc) * scale[channel], round to even, + zero point, saturate.
 */
#ifndef IH_GRAPH_H
#define IH_GRAPH_H

#include "common/gate_word.h"
#include <stddef.h>
#include <stdint.h>

#define IH_GRAPH_PARAMS 46
#define IH_GRAPH_REGIONS 64
#define IH_GRAPH_NONE (-1) /* a ref that is absent */
#define IH_GRAPH_LANES 16  /* output channels that packed weights interleave */
#define IH_EWISE_BLOCK 256 /* elements that the element-wise machine holds in a register */
#define IH_EWISE_REGS 24
#define IH_EWISE_SPREADS 8 /* leaves that repeat along the row, at most */

/* Every op kind begins with these. unit_ns: the compiler's estimate of one unit, from which polls are paced. */
#define IH_PARAMS_COMMON(X) X(units) X(unit_ns)

/* Convolution, also matrix product: out[px][n] = sum over runs and bytes of x * w. A run is a stretch of input that is
 * contiguous in memory (kernel row of a dense convolution: kw * channels bytes), run (j, i) starts at j * run_y + i * run_x. */
#define IH_PARAMS_CONV(X)                                                                                             \
    IH_PARAMS_COMMON(X)                                                                                               \
    X(x) X(x_image) X(x_line) X(x_px)           /* ref; bytes to the next image, output line, output pixel */         \
    X(runs_y) X(run_y) X(runs_x) X(run_x) X(run_bytes)                                                                \
    X(w)                                        /* (n/16, runs * ceil(run_bytes/4), 16, 4) s8 */                      \
    X(w_image)                                  /* bytes to the next image's weights: 0 unless both operands move */  \
    X(bias)                                     /* (n) int32, zero point of x folded in */                            \
    X(bias_image)                                                                                                     \
    X(w_zero)                                   /* zero point of w: subtracted as w_zero * sum(x) */                  \
    X(scale)                                    /* (n) f32 */                                                         \
    X(lut)                                      /* (256) u8 applied after requantisation, or none */                  \
    X(float_bias)                               /* (n) f32 for float output, or none */                               \
    X(out) X(out_image) X(out_line) X(out_px)   /* ref; bytes */                                                      \
    X(out_zero) X(is_float)                                                                                           \
    X(images) X(lines) X(line_px) X(n)                                                                                \
    X(chunk_px) X(line_chunks) X(n_chunk) X(n_chunks) /* unit = (image, line, chunk of px, chunk of n) */

/* Depthwise convolution: w is (kh * kw, c) s8; w_packed, pair and fold: see depthwise_columns in pack.py.
 * unit = (image, line pair, chunk of pixels) */
#define IH_PARAMS_DEPTHWISE(X)                                                                                        \
    IH_PARAMS_COMMON(X)                                                                                               \
    X(x) X(x_image) X(x_row) X(x_px) /* bytes between input rows and pixels, not yet times the stride */              \
    X(kh) X(kw) X(stride_y) X(stride_x) X(dilation_y) X(dilation_x)                                                   \
    X(w) X(w_packed) X(pair) X(fold) X(bias) X(scale) X(lut)                                                          \
    X(out) X(out_image) X(out_line) X(out_px) X(out_zero)                                                             \
    X(images) X(lines) X(line_px) X(c) X(chunk_px) X(line_chunks)

/* Element-wise program over strided leaves (ewise_body.h). unit = a chunk of a row; extents (4 outer, row) */
#define IH_PARAMS_EWISE(X)                                                                                            \
    IH_PARAMS_COMMON(X)                                                                                               \
    X(program) X(instructions) X(leaves) X(leaf_table)                                                                \
    X(d0) X(d1) X(d2) X(d3) X(row)                                                                                    \
    X(out) X(o0) X(o1) X(o2) X(o3) /* ref; elements */                                                                \
    X(result) X(out_kind) X(out_scale) X(out_zero)                                                                    \
    X(chunk) X(chunks) X(segment) X(segment_step) /* segment 0: the row is contiguous in `out` */

/* Strided copy, stride 0 repeats; through a table when there is one. size: bytes an element. unit = a chunk of a row */
#define IH_PARAMS_COPY(X)                                                                                             \
    IH_PARAMS_COMMON(X)                                                                                               \
    X(x) X(out) X(size) X(lut) X(lut_size)                                                                            \
    X(d0) X(d1) X(d2) X(d3) X(d4) X(row)                                                                              \
    X(s0) X(s1) X(s2) X(s3) X(s4) X(s_row)                                                                            \
    X(o0) X(o1) X(o2) X(o3) X(o4) X(o_row)                                                                            \
    X(chunk) X(chunks)

/* The border of a padded image, filled with the zero point (f32: 0). image and px in bytes. unit = an image */
#define IH_PARAMS_HALO(X)                                                                                             \
    IH_PARAMS_COMMON(X)                                                                                               \
    X(out) X(images) X(image) X(height) X(width) X(px) X(top) X(bottom) X(left) X(right) X(value)

/* Planes of f32 (images, c, lines, width), c from 2 to 4, quantised to u8 pixels of c channels: what a camera or a screen
 * gives to a first convolution. x_* in elements, out_* in bytes. unit = (image, line) */
#define IH_PARAMS_PLANES(X)                                                                                           \
    IH_PARAMS_COMMON(X)                                                                                               \
    X(x) X(x_image) X(x_plane) X(x_line) X(images) X(c) X(lines) X(width)                                             \
    X(out) X(out_image) X(out_line) X(out_scale) X(out_zero)

/* Windowed mean or maximum of an image, NHWC u8 or f32. Mean of u8: exact sum, * scale, + zero. unit = (image, line, pixel) */
#define IH_PARAMS_POOL(X)                                                                                             \
    IH_PARAMS_COMMON(X)                                                                                               \
    X(x) X(x_image) X(x_row) X(x_px) X(height) X(width) X(kind) X(in_float) X(in_scale) X(in_zero)                    \
    X(kh) X(kw) X(stride_y) X(stride_x) X(pad_y) X(pad_x) X(count_pad)                                                \
    X(out) X(out_image) X(out_line) X(out_px) X(out_float) X(out_scale) X(out_zero)                                   \
    X(images) X(lines) X(line_px) X(c)

/* Mean of a whole u8 image by channel, f32 out: rows are summed into `sums` (c), u32, or f32 of what `table` (256 f32) makes of the
 * bytes. unit = (image, band of rows), the bands of an image in order */
#define IH_PARAMS_MEAN(X)                                                                                             \
    IH_PARAMS_COMMON(X)                                                                                               \
    X(x) X(x_image) X(x_row) X(height) X(width) X(c) X(in_scale) X(in_zero)                                           \
    X(table) X(sums) X(out) X(bands) X(band_rows) X(images)

/* Rows of f32: softmax, layer norm, reductions. unit = a few rows. w, b: (row) f32 of the layer norm, or none */
#define IH_PARAMS_ROWS(X)                                                                                             \
    IH_PARAMS_COMMON(X)                                                                                               \
    X(x) X(out) X(rows) X(row) X(x_stride) X(out_stride) X(w) X(b) X(epsilon) X(kind)                                 \
    X(unit_rows)

/* u8 matrix (k, n), any strides, packed as the weights of a CONV with bias and zero points. unit = (image, 16 columns) */
#define IH_PARAMS_PACK(X)                                                                                             \
    IH_PARAMS_COMMON(X)                                                                                               \
    X(x) X(x0) X(x1) X(x_k) X(x_n) X(d0) X(d1) X(k) X(n) X(w) X(w_image) X(bias) X(bias_image) X(x_zero) X(a_zero)    \
    X(a_flip)

/* Float convolution or product of what is not quantised: w is (runs * run_floats, n) f32; outputs of a pixel lie out_n
 * apart, which is 1 unless they are few
 * and a 1x1 convolution makes planes of planes (x_px and out_px are 1). unit = (image, line) */
#define IH_PARAMS_CONV_F32(X)                                                                                         \
    IH_PARAMS_COMMON(X)                                                                                               \
    X(x) X(x_image) X(x_line) X(x_px) X(x_k) X(runs_y) X(run_y) X(runs_x) X(run_x) X(run_floats)                      \
    X(w) X(w_image) X(w_k) X(w_n) X(bias)                                                                             \
    X(out) X(out_image) X(out_line) X(out_px) X(images) X(lines) X(line_px) X(n)                                      \
    X(image_d1) X(x_image1) X(w_image1) X(out_image1) X(out_n)

/* X(enum, name, parameter list) */
#define IH_GRAPH_OPS(X)                                                                                               \
    X(IH_OP_CONV, conv, IH_PARAMS_CONV)                                                                               \
    X(IH_OP_DEPTHWISE, depthwise, IH_PARAMS_DEPTHWISE)                                                                \
    X(IH_OP_EWISE, ewise, IH_PARAMS_EWISE)                                                                            \
    X(IH_OP_COPY, copy, IH_PARAMS_COPY)                                                                               \
    X(IH_OP_HALO, halo, IH_PARAMS_HALO)                                                                               \
    X(IH_OP_POOL, pool, IH_PARAMS_POOL)                                                                               \
    X(IH_OP_MEAN, mean, IH_PARAMS_MEAN)                                                                               \
    X(IH_OP_ROWS, rows, IH_PARAMS_ROWS)                                                                               \
    X(IH_OP_PACK, pack, IH_PARAMS_PACK)                                                                               \
    X(IH_OP_CONV_F32, conv_f32, IH_PARAMS_CONV_F32)                                                                   \
    X(IH_OP_PLANES, planes, IH_PARAMS_PLANES)

#define IH_OP_ENUM(id, name, params) id,
enum ih_op_kind { IH_GRAPH_OPS(IH_OP_ENUM) IH_OP_KINDS };

/* The parameters of kind `conv` are p[IH_conv_x], p[IH_conv_n], ... */
#define IH_ENUM_conv(f) IH_conv_##f,
#define IH_ENUM_depthwise(f) IH_depthwise_##f,
#define IH_ENUM_ewise(f) IH_ewise_##f,
#define IH_ENUM_copy(f) IH_copy_##f,
#define IH_ENUM_halo(f) IH_halo_##f,
#define IH_ENUM_pool(f) IH_pool_##f,
#define IH_ENUM_mean(f) IH_mean_##f,
#define IH_ENUM_rows(f) IH_rows_##f,
#define IH_ENUM_pack(f) IH_pack_##f,
#define IH_ENUM_conv_f32(f) IH_conv_f32_##f,
#define IH_ENUM_planes(f) IH_planes_##f,
enum { IH_PARAMS_CONV(IH_ENUM_conv) };
enum { IH_PARAMS_DEPTHWISE(IH_ENUM_depthwise) };
enum { IH_PARAMS_EWISE(IH_ENUM_ewise) };
enum { IH_PARAMS_COPY(IH_ENUM_copy) };
enum { IH_PARAMS_HALO(IH_ENUM_halo) };
enum { IH_PARAMS_POOL(IH_ENUM_pool) };
enum { IH_PARAMS_MEAN(IH_ENUM_mean) };
enum { IH_PARAMS_ROWS(IH_ENUM_rows) };
enum { IH_PARAMS_PACK(IH_ENUM_pack) };
enum { IH_PARAMS_CONV_F32(IH_ENUM_conv_f32) };
enum { IH_PARAMS_PLANES(IH_ENUM_planes) };

typedef struct ih_graph_op {
    int64_t kind;
    int64_t p[IH_GRAPH_PARAMS];
} ih_graph_op;

/* The element-wise machine's instructions: X(enum, name, operands). */
#define IH_EWISE_OPS(X)                                                                                               \
    X(IH_EW_ADD, Add, 2) X(IH_EW_SUB, Sub, 2) X(IH_EW_MUL, Mul, 2) X(IH_EW_DIV, Div, 2) X(IH_EW_MIN, Min, 2)          \
    X(IH_EW_MAX, Max, 2) X(IH_EW_NEG, Neg, 1) X(IH_EW_ABS, Abs, 1) X(IH_EW_SQRT, Sqrt, 1)                             \
    X(IH_EW_EXP, Exp, 1) X(IH_EW_ERF, Erf, 1) X(IH_EW_TANH, Tanh, 1) X(IH_EW_SIGMOID, Sigmoid, 1)                     \
    X(IH_EW_SQUARE, Square, 1) X(IH_EW_ROUND, Round, 1)
#define IH_EW_ENUM(id, name, operands) id,
enum ih_ewise_op { IH_EWISE_OPS(IH_EW_ENUM) IH_EW_OPS };

typedef struct ih_ewise_instruction {
    int16_t op, to, a, b;
} ih_ewise_instruction;

/* How a leaf is read along the row. */
enum ih_leaf_mode { IH_LEAF_FLAT, IH_LEAF_SCALAR, IH_LEAF_PERIODIC, IH_LEAF_REPEAT }; /* each period `times` times */
typedef struct ih_ewise_leaf {
    int64_t ref, s0, s1, s2, s3; /* elements */
    int64_t mode, period, times, is_u8, zero; /* is_u8 2: through the table of 256 f32 that `zero` refers to */
    float scale;
    int32_t spread; /* which of the buffers for periodic leaves it uses */
} ih_ewise_leaf;

typedef struct ih_graph_run {
    const ih_graph_op *ops;
    int64_t op_count, op, unit; /* where it stands */
    uint8_t *region[IH_GRAPH_REGIONS];
} ih_graph_run;

typedef void ih_graph_kernel(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to);

/* One instruction set: a kernel for each kind of op. */
typedef struct ih_graph_variant {
    const char *name;
    int (*is_supported)(void);
    int signed_activations; /* the kernel flips activations to s8: the bias must hold 128 * sum(w) more */
    double macs_per_ns;     /* about; paces the polls */
    int tile_px;            /* pixels that a chunk had better be a multiple of */
    ih_graph_kernel *kernel[IH_OP_KINDS];
} ih_graph_variant;

/* X(symbol): best first; the last one runs everywhere. */
#if defined(__x86_64__)
#define IH_GRAPH_VARIANTS(X) X(amx_int8) X(avx512_vnni) X(avx_vnni) X(avx2) X(scalar)
#elif defined(__aarch64__)
#define IH_GRAPH_VARIANTS(X) X(neon_i8mm) X(neon_dotprod) X(neon) X(scalar)
#else
#define IH_GRAPH_VARIANTS(X) X(scalar)
#endif
#define IH_VARIANT_DECLARE(name) extern const ih_graph_variant ih_graph_##name;
IH_GRAPH_VARIANTS(IH_VARIANT_DECLARE)

const ih_graph_variant *ih_graph_variant_at(int index); /* NULL past the end */

/* Runs on from where `run` stands, with up to `threads` threads and the same bits for any number of them. IH_DONE, or
 * IH_PREEMPTED when the gate closed: call again to go on. */
int ih_graph_step(ih_graph_run *run, const ih_graph_variant *variant, const ih_gate *gate, int threads);

/* int8 GOP/s of one core's dot-product instruction, or of its tiles, measured now; 0 where it has none that is known. */
double ih_graph_peak_gops(void);
double ih_graph_peak_tiles_gops(void);

static inline uint8_t *ih_at(uint8_t *const *region, int64_t ref) {
    return region[(uint64_t)ref >> 56] + (ref & 0x00ffffffffffffffLL);
}

static inline float ih_bits_f32(int64_t bits) {
    union { uint32_t u; float f; } both = {.u = (uint32_t)bits};
    return both.f;
}

/* Requantisation, the meaning: acc is what the int32 accumulators hold, bias included. */
static inline uint8_t ih_requantise(int32_t acc, float scale, int32_t zero) {
    float scaled = (float)acc * scale;
    float low = (float)-zero, high = (float)(255 - zero);
    scaled = scaled < low ? low : scaled > high ? high : scaled;
    scaled = (scaled + 12582912.0f) - 12582912.0f; /* to even: 1.5 * 2^23 leaves no bits below the point */
    return (uint8_t)((int32_t)scaled + zero);
}

/* Kernels that one source serves for all instruction sets, compiled once for each (bodies.h). */
#define IH_BODIES_DECLARE(isa)                                                                                        \
    ih_graph_kernel ih_ewise_##isa, ih_copy_##isa, ih_halo_##isa, ih_pool_##isa, ih_mean_##isa, ih_rows_##isa,        \
        ih_pack_##isa, ih_conv_f32_##isa, ih_planes_##isa;
IH_BODIES_DECLARE(scalar)
IH_BODIES_DECLARE(avx2)
IH_BODIES_DECLARE(avx512)
ih_graph_kernel ih_conv_scalar, ih_depthwise_scalar;
ih_graph_kernel ih_conv_avx2, ih_conv_avx_vnni, ih_conv_avx512_vnni, ih_conv_amx_int8, ih_depthwise_avx2, ih_depthwise_avx512_vnni;
ih_graph_kernel ih_conv_neon, ih_conv_neon_dotprod, ih_conv_neon_i8mm;

#endif
