/* SPDX-License-Identifier: Apache-2.0
 * rg_backend_ops: bring your own kernels.
 *
 * A backend is a constant table of functions. Only `matmul` is required; every other member may be NULL and then has
 * a portable default, as long as the backend's buffers are host memory. Operations are coarse (all rows of a chunk at
 * once), so a call through the table costs nothing measurable.
 *
 *     static rg_status my_matmul(void *self, const rg_matmul_args *args) { ... }
 *     static const rg_backend_ops ops = { .struct_size = sizeof ops, .name = "mine", .matmul = my_matmul };
 *     RG_BACKEND_EXPORT(ops)                      (in my_backend.so; or rg_model_options_set_backend_ops in the program itself)
 *
 * Rules for every kernel. A result element depends only on its own inputs and on absolute indices: never on how many
 * rows a call has, which segments stand beside it, or how tasks are spread. So chunks, batches and threads
 * do not change a bit. Return RG_OK, RG_ERR_MEMORY or RG_ERR_BACKEND; never exit, print, or keep a pointer to arguments.
 * Rows of a call may belong to many states: `segments` tells which rows are whose.
 */
#ifndef RECURRENTGEMMA_BACKEND_H
#define RECURRENTGEMMA_BACKEND_H

#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Meaning of the argument structures; a plugin made for another number is refused. */
#define RG_BACKEND_ABI 1u

/** Bits of rg_backend_ops.capabilities. */
enum {
    /**
     * Keeps the rule above: a promise of the same bits for every chunking, batch and thread count. rg_model_info.is_exact passes it on;
     * tests/exactness.h tries it on any backend, and docs/backends.md tells how.
     */
    RG_BACKEND_EXACT = 1,
    /** Takes weights of RG_TYPE_Q8 and RG_TYPE_Q4, in products and in `embed`. Without it, models that have such are refused. */
    RG_BACKEND_QUANTIZED = 2
};

/** A view of a backend's buffer. Element [i, j, ...] is at offset + sum(index * stride); shape and strides in elements, outermost first. */
typedef struct rg_tensor {
    size_t struct_size;
    void *buffer;          /**< from buffer_new, or the address of host memory when that is NULL */
    uint64_t offset_bytes;
    int type;              /**< RG_TYPE_F32, RG_TYPE_F16 or RG_TYPE_BF16; of weights with scales RG_TYPE_Q8 or RG_TYPE_Q4 */
    uint32_t rank;         /**< 1 to 4 */
    uint64_t shape[4];
    uint64_t strides[4];   /**< the last is 1. RG_TYPE_Q8, RG_TYPE_Q4: [0] is bytes from row to row */
    const float *scales;   /**< of each row; RG_TYPE_Q8 and RG_TYPE_Q4 only. Row n holds scales[n] times bfloat16 values */
    const uint8_t *groups; /**< RG_TYPE_Q4: a byte for each 32 elements of a row, rows one behind the other, each of a multiple of 4 bytes */
} rg_tensor;

/** Where a tensor of a host-memory backend lies. */
#define RG_TENSOR_DATA(tensor) ((void *)((char *)(tensor)->buffer + (tensor)->offset_bytes))

/** Rows [first_row, first_row + n_rows) of a call belong to one state and stand at `position` and on. */
typedef struct rg_segment {
    size_t struct_size;
    size_t first_row, n_rows;
    uint64_t position;      /**< of the first row, counted from the state's start; 0 starts a document */
    void *const *pages;     /**< buffers of the window: page i holds positions [i * page_length, ...) for i from first_page on; NULL without attention layers */
    uint64_t first_page;    /**< index of pages[0] */
    size_t n_pages;
    int window_type;        /**< type of the keys and values in the pages */
} rg_segment;

/** What a backend is given when it is opened. Strings and structures live until close. */
typedef struct rg_backend_options {
    size_t struct_size;
    unsigned n_threads;                 /**< how many tasks run side by side */
    rg_parallel_for_fn *parallel_for;   /**< runs tasks on the model's workers; only during a kernel, bind or open */
    void *parallel_user;
    const rg_allocator *allocator;
    rg_log_fn *log;                     /**< may be NULL */
    void *log_user;
    int compute;                        /**< RG_TYPE_DEFAULT, RG_TYPE_F32 or RG_TYPE_BF16, as rg_model_options_set_compute */
    uint32_t cpu_mask;                  /**< RG_CPU_... bits that may be used */
    int weight_layout;                  /**< RG_LAYOUT_..., as rg_model_options_set_weight_layout */
} rg_backend_options;

/** One weight matrix of a model, as it lies in memory or in a mapped file. */
typedef struct rg_weight {
    size_t struct_size;
    const char *name;                   /**< as in the checkpoint */
    rg_tensor tensor;                   /**< host memory, rows contiguous; for matmul as w. Where `packed` is not NULL it has no buffer */
    const void *packed;                 /**< what `pack` of the table made of it; NULL: it was not packed */
} rg_weight;

/**
 * What bind is given: every matrix of the model, which slice of the outputs this process shall hold (of 1: all), and what single steps will ask for: a
 * backend that needs memory for them takes it now.
 */
typedef struct rg_bind_args {
    size_t struct_size;
    size_t n_weights;
    const rg_weight *const *weights;
    uint32_t slice_first, slice_count, slice_of;
    uint32_t step_rows;                                      /**< calls of so many rows take no memory */
    uint32_t num_heads, num_kv_heads, head_dim, page_length; /**< of attention; all 0: there is none */
} rg_bind_args;

/**
 * y[m, n] = sum over k of x[m, k] * w(n, k), plus bias[n]; float32 in one order of k for every m and n.
 *
 * x [M, K], y [M, N] float32 views with any row stride; w [N, K] when is_w_transposed, else [K, N]; F32, F16 or BF16, used at
 * its full value; Q8 or Q4 when is_w_transposed, where the finished sum over bfloat16 values is multiplied by the row's scale before the bias is added. bias [N] float32 or NULL. Rank 3: the same for each index of the first dimension, bias [B, N].
 * y overlaps nothing. |y - exact| <= 2 * K * 2^-24 * sum |x||w| (+ rounding of x where a backend's documentation says so).
 */
typedef struct rg_matmul_args {
    size_t struct_size;
    const rg_tensor *y, *x, *w, *bias;
    int is_w_transposed;
    int is_added;           /**< 1: y += instead of y = */
    void *weights;          /**< what bind returned, NULL without bind */
    size_t weight_index;    /**< index of w in rg_bind_args.weights */
} rg_matmul_args;

/** y[m, :] = table[tokens[m], :] * scale; of a quantised table its values times (the row's scale * scale). table [V, D] of any type, y [M, D] float32. Griffin, section 2; specification of the scale: Gemma report. */
typedef struct rg_embed_args {
    size_t struct_size;
    const rg_tensor *y, *table;
    const rg_token *tokens;  /**< [M], host memory, each below V */
    float scale;
} rg_embed_args;

/** y[m, i] = x[m, i] / sqrt(mean(x[m]^2) + epsilon) * (1 + w[i]). x, y [M, D] float32; y may equal x. */
typedef struct rg_norm_args {
    size_t struct_size;
    const rg_tensor *y, *x, *w;
    float epsilon;
} rg_norm_args;

/** Elementwise over [M, N] float32; outputs may equal inputs. */
typedef enum rg_elementwise {
    RG_ADD = 1,       /**< y = a + b */
    RG_MULTIPLY = 2,  /**< y = a * b */
    RG_GELU = 3,      /**< y = gelu(a), tanh form; b is NULL */
    RG_GELU_GATE = 4, /**< y = gelu(a) * b */
    RG_SOFT_CAP = 5   /**< y = parameter * tanh(a / parameter); b is NULL */
} rg_elementwise;

typedef struct rg_elementwise_args {
    size_t struct_size;
    int operation;          /**< an rg_elementwise */
    const rg_tensor *y, *a, *b;
    float parameter;
} rg_elementwise_args;

/**
 * Causal depthwise convolution: y[t, e] = bias[e] + sum over k of w[e, k] * x[t - (K - 1) + k, e].
 *
 * x, y [M, E]; w [E, K]; bias [E]. Rows before a segment come from state_in [K - 1, E], oldest first; state_out gets the last
 * K - 1 inputs. Where a segment's position is 0 the state before it counts as zero. All float32; state_out does not overlap state_in.
 */
typedef struct rg_conv1d_args {
    size_t struct_size;
    const rg_tensor *y, *x, *w, *bias;
    size_t n_segments;
    const rg_segment *const *segments;
    const rg_tensor *const *state_in, *const *state_out; /**< one for each segment */
} rg_conv1d_args;

/** Kinds of recurrence. */
enum { RG_SCAN_RG_LRU = 1 };

/**
 * RG-LRU: h[t] = a[t] * h[t - 1] + m[t] * (sigmoid(gate_x[t]) * x[t]), y[t] = h[t], elementwise over E, with
 * a = exp(-8 * sigmoid(gate_a) * softplus(decay)), m = sqrt(1 - a^2); at position 0 of a state, a = 0 and m = 1.
 *
 * x, y, gate_x, gate_a [M, E]; decay [E]; state_in, state_out [E] for each segment; all float32, y may equal x.
 * Griffin, arXiv 2402.19427, section 2.4. tap_* [M, E] or NULL get sigmoid(gate_x), sigmoid(gate_a), a, and m * (...).
 * The members named imaginary are for complex recurrences and NULL for RG-LRU; is_reversed is 0.
 */
typedef struct rg_scan_args {
    size_t struct_size;
    int kind;
    int is_reversed;
    const rg_tensor *y, *x, *gate_x, *gate_a, *decay;
    const rg_tensor *y_imaginary, *x_imaginary, *decay_imaginary;
    size_t n_segments;
    const rg_segment *const *segments;
    const rg_tensor *const *state_in, *const *state_out;
    const rg_tensor *tap_gate_x, *tap_gate_a, *tap_a, *tap_u;
} rg_scan_args;

/**
 * One of several products of the same rows: v = x w^T + bias, then `operation` of it, then y = v, or y + v.
 *
 * w [N, K], bias [N] or NULL, y [M, N], types and bounds as in rg_matmul_args. RG_GELU: v = gelu(v). RG_GELU_GATE: v = gelu(v) * (x second_w^T +
 * second_bias). is_added and operation exclude one another.
 */
typedef struct rg_product {
    size_t struct_size;
    const rg_tensor *y, *w, *bias;
    size_t weight_index;
    int operation;                 /**< 0, RG_GELU or RG_GELU_GATE */
    int is_added;
    const rg_tensor *second_w, *second_bias;
    size_t second_weight_index;
    const rg_tensor *room;         /**< [M, N], for whoever wants it; with RG_GELU_GATE and with is_added. Overlaps nothing */
} rg_product;

/** Products of the same rows x [M, K], so that they are read, rounded and handed out once. No y overlaps x or another y. */
typedef struct rg_linear_args {
    size_t struct_size;
    const rg_tensor *x;
    size_t n_products;
    const rg_product *const *products;
    void *weights;                 /**< as in rg_matmul_args */
} rg_linear_args;

/**
 * The middle of a recurrent block: both gates, the scan, and y = h * multiplier.
 *
 * input_gate and recurrence_gate multiply scan->x, seen as [B, M, E / B], by weights [B, K, N] into scan->gate_x and scan->gate_a, which a kernel may leave as
 * they are. scan->y overlaps nothing. multiplier [M, E].
 */
typedef struct rg_recurrence_args {
    size_t struct_size;
    const rg_matmul_args *input_gate, *recurrence_gate;
    const rg_scan_args *scan;
    const rg_tensor *multiplier;
} rg_recurrence_args;

/**
 * Rotate, in place, the first 2 * half elements of each head: pairs (i, i + half) by the angle whose cosine and sine are
 * given. x [M, heads, head_dim]; cosines, sines [M, half]; float32.
 */
typedef struct rg_rope_args {
    size_t struct_size;
    const rg_tensor *x, *cosines, *sines;
} rg_rope_args;

/** Where one attention layer's keys and values lie in a page: [page_length, num_kv_heads * head_dim] each, in the segment's window type. */
typedef struct rg_page_layout {
    size_t struct_size;
    uint32_t page_length;
    uint64_t keys_offset, values_offset; /**< in elements of the window type */
    uint32_t num_kv_heads, head_dim;
} rg_page_layout;

/** Write keys and values [M, num_kv_heads * head_dim] float32 of new rows into their pages, rounded to the window's type. */
typedef struct rg_window_write_args {
    size_t struct_size;
    const rg_tensor *keys, *values;
    const rg_page_layout *layout;
    size_t n_segments;
    const rg_segment *const *segments;
} rg_window_write_args;

/**
 * Softmax attention of each row over the window: positions [max(0, p - past), p] for a row at position p.
 *
 * q, y [M, heads * head_dim] float32; head n uses key head n / (heads / num_kv_heads). Scores are q . k * scale. Pages are walked oldest
 * first; the running maximum is renewed at page boundaries only, so that sums depend on absolute positions alone.
 */
typedef struct rg_attention_args {
    size_t struct_size;
    const rg_tensor *y, *q;
    const rg_page_layout *layout;
    uint64_t past;
    float scale;
    size_t n_segments;
    const rg_segment *const *segments;
} rg_attention_args;

/** The table. Members may be added at the end; struct_size tells which ones a backend knows. */
typedef struct rg_backend_ops {
    size_t struct_size;
    const char *name;
    uint32_t capabilities;
    int default_window_type;      /**< 0: RG_TYPE_F32 */
    /** Makes *self; NULL: self is NULL. */
    rg_status (*open)(void **self, const rg_backend_options *options);
    void (*close)(void *self);
    /** Once per model: take note of weights, or upload them. NULL: weights are used where they lie. */
    rg_status (*bind)(void *self, void **weights, const rg_bind_args *args);
    void (*release)(void *self, void *weights);
    rg_status (*matmul)(void *self, const rg_matmul_args *args); /* required */
    /* Optional kernels; NULL: portable. */
    rg_status (*rglru_scan)(void *self, const rg_scan_args *args);
    rg_status (*window_attention)(void *self, const rg_attention_args *args);
    rg_status (*embed)(void *self, const rg_embed_args *args);
    rg_status (*rms_norm)(void *self, const rg_norm_args *args);
    rg_status (*elementwise)(void *self, const rg_elementwise_args *args);
    rg_status (*conv1d)(void *self, const rg_conv1d_args *args);
    rg_status (*rope)(void *self, const rg_rope_args *args);
    rg_status (*window_write)(void *self, const rg_window_write_args *args);
    /* Buffers; all NULL: host memory. */
    rg_status (*buffer_new)(void *self, void **buffer, uint64_t bytes);
    void (*buffer_free)(void *self, void *buffer, uint64_t bytes);
    rg_status (*buffer_read)(void *self, void *buffer, uint64_t offset, void *out, uint64_t bytes);
    rg_status (*buffer_write)(void *self, void *buffer, uint64_t offset, const void *in, uint64_t bytes);
    rg_status (*sync)(void *self);  /**< Wait until all kernels called so far are done. NULL: they are when they return. */
    const char *(*kernels)(void *self); /**< Names of the kernels chosen, with whatever decides bits, such as a version: saved states tell by it who computed them. NULL: the backend's name. */
    /* Fused operations; NULL: made of the ones above. */
    rg_status (*linear)(void *self, const rg_linear_args *args);
    rg_status (*recurrence)(void *self, const rg_recurrence_args *args);
    /* Weights in an order of the backend's own, made while files are read; all NULL: none. w is a matrix [N, K] without a buffer that nothing but products reads. */
    uint64_t (*packed_bytes)(void *self, const rg_tensor *w); /**< how much memory; 0: it stays as stored */
    /** Elements [first, first + n) of w, row by row, into `packed`, which began as zeros when it is larger than w. Several threads call it, for parts of their own.
     * RG_ERR_NONFINITE when one is NaN or infinite: all are packed nevertheless, and the host may have allowed it. Any other error ends the opening. */
    rg_status (*pack)(void *self, void *packed, const rg_tensor *w, uint64_t first, uint64_t n, const void *elements);
    void (*unpack)(void *self, void *elements, const void *packed, const rg_tensor *w, uint64_t first, uint64_t n); /**< the same bytes back */
} rg_backend_ops;

/** Whether a table has a member, whatever version it was compiled against. */
#define RG_HAS(ops, member) \
    ((ops)->struct_size >= offsetof(rg_backend_ops, member) + sizeof((ops)->member) && (ops)->member != NULL)

/** The function a plugin exports, by RG_BACKEND_EXPORT. */
#define RG_BACKEND_ENTRY "rg_backend_entry"
typedef const rg_backend_ops *rg_backend_entry_fn(uint32_t *abi);

#define RG_BACKEND_EXPORT(table)                                \
    RG_API const rg_backend_ops *rg_backend_entry(uint32_t *abi); \
    RG_API const rg_backend_ops *rg_backend_entry(uint32_t *abi)  \
    {                                                           \
        *abi = RG_BACKEND_ABI;                                  \
        return &(table);                                        \
    }

#ifdef __cplusplus
}
#endif
#endif
