/* SPDX-License-Identifier: Apache-2.0
 * A pickle is a program for a machine with a stack and a memory of values it has made. This machine knows the instructions that make dictionaries
 * of tensors, and the few names that they need; a name stands for itself, and calling one makes a record, never a call. Values are
 * eight bytes that hold no pointers: an integer, a place in the pickle's text, or an index into one of the machine's lists. */
#include "io/torch_pickle.h"

#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/reader.h"
#include "base/utf8.h"

#define MAX_NAME 256u
#define MAX_RANK 8u
/* What one tensor takes of each list: a little more than torch.save writes for one. */
#define STACK_VALUES 4u
#define MEMO_VALUES 16u
#define TUPLE_VALUES 24u
#define DICTIONARIES 4u
#define LEAST_VALUES 4096u

typedef enum kind { NONE, MARK, BOOL, INTEGER, TEXT, NAME, TUPLE, STORAGE, DICTIONARY, TENSOR } kind;

/* Four bits of kind below sixty of content; places and lengths share those: 32 and 28 bits. */
typedef uint64_t value;

typedef struct value_list {
    value *values;
    size_t n, room, most;
} value_list;

typedef struct dictionary {
    uint32_t n_items, n_tensors;
    value other; /* the key of the first item that is no tensor */
} dictionary;

/* The names that a pickle may use. */
enum { ORDERED_DICT, REBUILD_TENSOR, REBUILD_PARAMETER, FLOAT_STORAGE, HALF_STORAGE, BFLOAT16_STORAGE, N_NAMES };

static const struct { const char *module, *name; int type; } names[N_NAMES] = {
    [ORDERED_DICT] = { "collections", "OrderedDict", 0 },
    [REBUILD_TENSOR] = { "torch._utils", "_rebuild_tensor_v2", 0 },
    [REBUILD_PARAMETER] = { "torch._utils", "_rebuild_parameter", 0 },
    [FLOAT_STORAGE] = { "torch", "FloatStorage", RG_TYPE_F32 },
    [HALF_STORAGE] = { "torch", "HalfStorage", RG_TYPE_F16 },
    [BFLOAT16_STORAGE] = { "torch", "BFloat16Storage", RG_TYPE_BF16 },
};

typedef struct machine {
    const rgi_host *host;
    const char *path, *text;
    uint64_t offset;  /* of the pickle in its file */
    rg_error *error;
    rgi_reader reader;
    size_t at;        /* where the instruction stands */
    unsigned opcode;
    value_list stack, memo, tuples;
    dictionary *dictionaries;
    size_t n_dictionaries, dictionary_room;
    rgi_torch_tensor *tensors; /* without a name until a dictionary gives it */
    size_t n_tensors, tensor_room;
} machine;

static kind kind_of(value v) { return (kind)(v & 15); }
static uint64_t content_of(value v) { return v >> 4; }
static size_t place_of(value v) { return (size_t)(v >> 32); }
static uint32_t length_of(value v) { return (uint32_t)(v >> 4) & 0xfffffff; }
static value make(kind k, uint64_t content) { return content << 4 | k; }
static value make_span(kind k, size_t place, size_t length) { return (uint64_t)place << 32 | (uint64_t)length << 4 | k; }

static rg_status fail(const machine *m, const char *problem)
{
    const uint64_t offset = m->offset + m->at;
    return rgi_fail(m->error, RG_ERR_FORMAT, offset, "%s: data.pkl: opcode 0x%02x at byte %llu: %s", m->path, m->opcode, (unsigned long long)offset, problem);
}

static rg_status fail_limit(const machine *m)
{
    return rgi_fail(m->error, RG_ERR_LIMIT, m->offset + m->at, "%s: data.pkl: more values than %u tensors need, which is the limit", m->path, m->host->limits.n_tensors);
}

static rg_status fail_cut(const machine *m) { return fail(m, "the pickle ends in it"); }

static rg_status add(const machine *m, value_list *list, value v)
{
    if (list->n == list->most) return fail_limit(m);
    void *values = list->values;
    if (!rgi_reserve(&m->host->allocator, &values, &list->room, list->n + 1, sizeof *list->values)) return rgi_fail_plain(m->error, RG_ERR_MEMORY);
    list->values = values;
    list->values[list->n++] = v;
    return RG_OK;
}

static rg_status push(machine *m, value v) { return add(m, &m->stack, v); }

/* The value below the top by `depth`; a MARK where there is none. */
static value top(const machine *m, size_t depth) { return depth < m->stack.n ? m->stack.values[m->stack.n - 1 - depth] : make(MARK, 0); }

static const char *text_of(const machine *m, value v) { return m->text + place_of(v); }

static bool text_is(const machine *m, value v, const char *text)
{
    return kind_of(v) == TEXT && length_of(v) == strlen(text) && memcmp(text_of(m, v), text, length_of(v)) == 0;
}

static const value *tuple_of(const machine *m, value v) { return length_of(v) ? m->tuples.values + place_of(v) : NULL; }

/* How many values lie above the topmost mark; false: there is none. What is looked at is then taken away, so this is no more than the pushes. */
static bool count_to_mark(const machine *m, size_t *n)
{
    for (*n = 0; *n < m->stack.n; ++*n)
        if (kind_of(top(m, *n)) == MARK) return true;
    return false;
}

/* Makes a tuple of the n topmost values, and takes n_popped from the stack. */
static rg_status make_tuple(machine *m, size_t n, size_t n_popped)
{
    const size_t place = m->tuples.n;
    rg_status status = RG_OK;
    for (size_t i = n; status == RG_OK && i-- > 0;) {
        if (kind_of(top(m, i)) == MARK) return fail(m, "too few values for the tuple");
        status = add(m, &m->tuples, top(m, i));
    }
    if (status != RG_OK) return status;
    m->stack.n -= n_popped;
    return push(m, make_span(TUPLE, place, n));
}

static rg_status make_dictionary(machine *m)
{
    if (m->n_dictionaries >= DICTIONARIES * (size_t)m->host->limits.n_tensors + LEAST_VALUES) return fail_limit(m);
    void *dictionaries = m->dictionaries;
    if (!rgi_reserve(&m->host->allocator, &dictionaries, &m->dictionary_room, m->n_dictionaries + 1, sizeof *m->dictionaries))
        return rgi_fail_plain(m->error, RG_ERR_MEMORY);
    m->dictionaries = dictionaries;
    m->dictionaries[m->n_dictionaries] = (dictionary){ 0, 0, 0 };
    return push(m, make(DICTIONARY, m->n_dictionaries++));
}

static rg_status find_name(machine *m, const char *module, size_t module_bytes, const char *name, size_t name_bytes)
{
    for (unsigned i = 0; i < N_NAMES; i++)
        if (strlen(names[i].module) == module_bytes && memcmp(names[i].module, module, module_bytes) == 0 && strlen(names[i].name) == name_bytes &&
            memcmp(names[i].name, name, name_bytes) == 0)
            return push(m, make(NAME, i));
    const uint64_t offset = m->offset + m->at;
    if (module_bytes + name_bytes > MAX_NAME) return fail(m, "uses a long name");
    return rgi_fail(m->error, RG_ERR_FORMAT, offset, "%s: data.pkl: opcode 0x%02x at byte %llu: uses %.*s.%.*s, which a dictionary of tensors of F32, F16 or BF16 does not need",
                    m->path, m->opcode, (unsigned long long)offset, (int)module_bytes, module, (int)name_bytes, name);
}

/* Two lines: a module, and a name in it. */
static rg_status read_global(machine *m)
{
    const char *start = m->text + m->reader.at, *end = m->text + m->reader.size;
    const char *line = memchr(start, '\n', (size_t)(end - start));
    const char *last = line ? memchr(line + 1, '\n', (size_t)(end - line - 1)) : NULL;
    if (!last) return fail_cut(m);
    if (!rgi_utf8_is_text((const unsigned char *)start, (size_t)(last - start))) return fail(m, "the name is not UTF-8");
    rgi_reader_take(&m->reader, (uint64_t)(last - start) + 1);
    return find_name(m, start, (size_t)(line - start), line + 1, (size_t)(last - line) - 1);
}

static rg_status read_stack_global(machine *m)
{
    const value name = top(m, 0), module = top(m, 1);
    if (kind_of(name) != TEXT || kind_of(module) != TEXT) return fail(m, "needs two texts");
    m->stack.n -= 2;
    return find_name(m, text_of(m, module), length_of(module), text_of(m, name), length_of(name));
}

static rg_status read_text(machine *m, unsigned length_bytes)
{
    const uint64_t n = rgi_reader_little(&m->reader, length_bytes);
    const size_t place = m->reader.at;
    const unsigned char *text = rgi_reader_take(&m->reader, n);
    if (!text) return fail_cut(m);
    if (!rgi_utf8_is_text(text, (size_t)n)) return fail(m, "the text is not UTF-8");
    return push(m, make_span(TEXT, place, (size_t)n));
}

static rg_status read_integer(machine *m, unsigned n_bytes, bool is_signed)
{
    const uint64_t n = rgi_reader_little(&m->reader, n_bytes);
    if (m->reader.is_bad) return fail_cut(m);
    if (is_signed && n_bytes > 0 && n >> (8 * n_bytes - 1) & 1) return fail(m, "the number is negative");
    if (n >> 60) return fail(m, "the number is 2^60 or more");
    return push(m, make(INTEGER, n));
}

static rg_status read_long(machine *m)
{
    const uint64_t n_bytes = rgi_reader_little(&m->reader, 1);
    return n_bytes <= 8 ? read_integer(m, (unsigned)n_bytes, true) : fail(m, "the number has more than 8 bytes");
}

/* Writers count what they remember, so an index is a known one or the next. */
static rg_status remember(machine *m, uint64_t index)
{
    if (m->reader.is_bad) return fail_cut(m);
    if (kind_of(top(m, 0)) == MARK) return fail(m, "there is nothing to remember");
    if (index > m->memo.n) return fail(m, "remembers out of turn");
    if (index == m->memo.n) return add(m, &m->memo, top(m, 0));
    m->memo.values[index] = top(m, 0);
    return RG_OK;
}

static rg_status recall(machine *m, uint64_t index)
{
    if (m->reader.is_bad) return fail_cut(m);
    return index < m->memo.n ? push(m, m->memo.values[index]) : fail(m, "recalls what was not remembered");
}

/* ('storage', type, key, location, number of elements). The location, a device, is no matter here. */
static rg_status make_storage(machine *m)
{
    const value tuple = top(m, 0);
    if (kind_of(tuple) != TUPLE || length_of(tuple) != 5) return fail(m, "the id of a storage is not a tuple of five");
    const value *v = tuple_of(m, tuple);
    if (!text_is(m, v[0], "storage") || kind_of(v[1]) != NAME || names[content_of(v[1])].type == 0 || kind_of(v[2]) != TEXT ||
        kind_of(v[3]) != TEXT || kind_of(v[4]) != INTEGER)
        return fail(m, "the id of a storage is not 'storage', type, key, location, size");
    if (length_of(v[2]) == 0 || length_of(v[2]) > MAX_NAME) return fail(m, "the key of a storage is empty or longer than 256 bytes");
    m->stack.values[m->stack.n - 1] = make_span(STORAGE, place_of(tuple), 5);
    return RG_OK;
}

static bool read_sizes(const machine *m, value tuple, uint64_t sizes[MAX_RANK])
{
    if (kind_of(tuple) != TUPLE || length_of(tuple) > MAX_RANK) return false;
    for (uint32_t i = 0; i < length_of(tuple); i++) {
        if (kind_of(tuple_of(m, tuple)[i]) != INTEGER) return false;
        sizes[i] = content_of(tuple_of(m, tuple)[i]);
    }
    return true;
}

/* Hooks and the like: an empty dictionary, or nothing. */
static bool is_empty(const machine *m, value v)
{
    return kind_of(v) == NONE || (kind_of(v) == DICTIONARY && m->dictionaries[content_of(v)].n_items == 0);
}

/* (storage, offset, shape, strides, requires_grad, hooks[, metadata]) */
static rg_status make_tensor(machine *m, value arguments, value *result)
{
    const value *v = tuple_of(m, arguments);
    const uint32_t n = length_of(arguments);
    if ((n != 6 && n != 7) || kind_of(v[0]) != STORAGE || kind_of(v[1]) != INTEGER || kind_of(v[4]) != BOOL || !is_empty(m, v[5]) || (n == 7 && !is_empty(m, v[6])))
        return fail(m, "a tensor is not made of storage, offset, shape, strides, requires_grad and no hooks");
    if (m->n_tensors == m->host->limits.n_tensors) return fail_limit(m);
    void *tensors = m->tensors;
    if (!rgi_reserve(&m->host->allocator, &tensors, &m->tensor_room, m->n_tensors + 1, sizeof *m->tensors)) return rgi_fail_plain(m->error, RG_ERR_MEMORY);
    m->tensors = tensors;
    rgi_torch_tensor *t = &m->tensors[m->n_tensors];
    memset(t, 0, sizeof *t);
    if (!read_sizes(m, v[2], t->shape) || !read_sizes(m, v[3], t->strides) || length_of(v[2]) != length_of(v[3]))
        return fail(m, "shape and strides are not tuples of as many integers, at most eight");
    const value *storage = tuple_of(m, v[0]);
    t->rank = length_of(v[2]);
    t->type = names[content_of(storage[1])].type;
    t->key = text_of(m, storage[2]);
    t->key_bytes = length_of(storage[2]);
    t->n_stored = content_of(storage[4]);
    t->offset = content_of(v[1]);
    *result = make(TENSOR, m->n_tensors++);
    return RG_OK;
}

/* Calls a name, which means one of three things. */
static rg_status reduce(machine *m)
{
    const value arguments = top(m, 0), name = top(m, 1);
    value result = 0;
    if (kind_of(arguments) != TUPLE || kind_of(name) != NAME) return fail(m, "calls what is not a name, or without a tuple of arguments");
    const uint32_t n = length_of(arguments);
    m->stack.n -= 2;
    if (content_of(name) == ORDERED_DICT) return n == 0 ? make_dictionary(m) : fail(m, "an OrderedDict is made with arguments");
    if (content_of(name) == REBUILD_PARAMETER) {
        const value *v = tuple_of(m, arguments);
        if (n != 3 || kind_of(v[0]) != TENSOR || kind_of(v[1]) != BOOL || !is_empty(m, v[2])) return fail(m, "a parameter is not made of tensor, requires_grad and no hooks");
        return push(m, v[0]);
    }
    if (content_of(name) != REBUILD_TENSOR) return fail(m, "calls a type of storage");
    const rg_status status = make_tensor(m, arguments, &result);
    return status == RG_OK ? push(m, result) : status;
}

static rg_status set_item(machine *m, uint64_t index, value key, value item)
{
    dictionary *d = &m->dictionaries[index];
    if (kind_of(key) != TEXT) return fail(m, "a key is not a text");
    if (d->n_items == UINT32_MAX) return fail_limit(m);
    d->n_items++;
    if (kind_of(item) != TENSOR) {
        if (d->n_items - d->n_tensors == 1) d->other = key;
        return RG_OK;
    }
    rgi_torch_tensor *t = &m->tensors[content_of(item)];
    if (length_of(key) == 0 || length_of(key) > MAX_NAME || memchr(text_of(m, key), 0, length_of(key)))
        return fail(m, "a tensor's name is empty, longer than 256 bytes, or contains a NUL");
    if (t->name) return fail(m, "a tensor has two names; tied weights are not supported");
    d->n_tensors++;
    t->name = text_of(m, key);
    t->name_bytes = length_of(key);
    return RG_OK;
}

/* Puts the pairs of the n topmost values into the dictionary below them and below n_between marks. */
static rg_status set_items(machine *m, size_t n, size_t n_between)
{
    const value target = top(m, n + n_between);
    if (kind_of(target) != DICTIONARY || n % 2 != 0) return fail(m, "puts into what is not a dictionary, or half a pair");
    rg_status status = RG_OK;
    for (size_t i = n; status == RG_OK && i > 0; i -= 2) {
        if (kind_of(top(m, i - 2)) == MARK) return fail(m, "puts a mark into a dictionary");
        status = set_item(m, content_of(target), top(m, i - 1), top(m, i - 2));
    }
    m->stack.n -= n + n_between;
    return status;
}

/* A module's state_dict has an attribute _metadata: the versions of its parts. They are read and left. */
static rg_status build(machine *m)
{
    const value state = top(m, 0);
    if (kind_of(top(m, 1)) != DICTIONARY || kind_of(state) != DICTIONARY) return fail(m, "gives attributes to what has none");
    const dictionary *d = &m->dictionaries[content_of(state)];
    if (d->n_items != 1 || d->n_tensors != 0 || !text_is(m, d->other, "_metadata")) return fail(m, "gives other attributes than _metadata");
    m->stack.n--;
    return RG_OK;
}

static rg_status step_marked(machine *m, bool is_tuple)
{
    size_t n;
    if (!count_to_mark(m, &n)) return fail(m, "there is no mark");
    return is_tuple ? make_tuple(m, n, n + 1) : set_items(m, n, 1);
}

static rg_status step_frame(machine *m)
{
    const uint64_t n = rgi_reader_little(&m->reader, 8);
    return m->reader.is_bad || n > rgi_reader_left(&m->reader) ? fail(m, "the frame is longer than the pickle") : RG_OK;
}

static rg_status step(machine *m)
{
    switch (m->opcode) {
    case '(': return push(m, make(MARK, 0));
    case ')': return make_tuple(m, 0, 0);
    case '}': return make_dictionary(m);
    case 'N': return push(m, make(NONE, 0));
    case 'c': return read_global(m);
    case 'X': return read_text(m, 4);
    case 'J': return read_integer(m, 4, true);
    case 'K': return read_integer(m, 1, false);
    case 'M': return read_integer(m, 2, false);
    case 'q': return remember(m, rgi_reader_little(&m->reader, 1));
    case 'r': return remember(m, rgi_reader_little(&m->reader, 4));
    case 'h': return recall(m, rgi_reader_little(&m->reader, 1));
    case 'j': return recall(m, rgi_reader_little(&m->reader, 4));
    case 't': return step_marked(m, true);
    case 'u': return step_marked(m, false);
    case 's': return set_items(m, 2, 0);
    case 'b': return build(m);
    case 'Q': return make_storage(m);
    case 'R': return reduce(m);
    case 0x85: return make_tuple(m, 1, 1);
    case 0x86: return make_tuple(m, 2, 2);
    case 0x87: return make_tuple(m, 3, 3);
    case 0x88: return push(m, make(BOOL, 1));
    case 0x89: return push(m, make(BOOL, 0));
    case 0x8a: return read_long(m);
    case 0x8c: return read_text(m, 1);
    case 0x93: return read_stack_global(m);
    case 0x94: return remember(m, m->memo.n);
    case 0x95: return step_frame(m);
    default: return fail(m, "unknown, or not needed for a dictionary of tensors");
    }
}

/* Nothing but the dictionary is left, and it has nothing but tensors. */
static rg_status finish(machine *m, rgi_torch_pickle *pickle)
{
    const value root = top(m, 0);
    if (rgi_reader_left(&m->reader) > 0) return fail(m, "the pickle goes on behind its end");
    if (m->stack.n != 1 || kind_of(root) != DICTIONARY) return fail(m, "the pickle is not of a dictionary");
    const dictionary *d = &m->dictionaries[content_of(root)];
    if (d->n_items != d->n_tensors && length_of(d->other) > MAX_NAME) return fail(m, "there is something else than tensors in the dictionary");
    if (d->n_items != d->n_tensors)
        return rgi_fail(m->error, RG_ERR_FORMAT, m->offset + place_of(d->other), "%s: data.pkl: \"%.*s\" is not a tensor; nested dictionaries are not supported", m->path,
                        (int)length_of(d->other), text_of(m, d->other));
    if (d->n_tensors == 0) return fail(m, "the dictionary is empty");
    if (d->n_tensors != m->n_tensors) return fail(m, "there are tensors outside of the dictionary");
    pickle->tensors = m->tensors;
    pickle->n_tensors = m->n_tensors;
    m->tensors = NULL;
    return RG_OK;
}

static rg_status run(machine *m, rgi_torch_pickle *pickle)
{
    const unsigned char *start = rgi_reader_take(&m->reader, 2);
    if (!start || start[0] != 0x80 || start[1] < 2 || start[1] > 5)
        return rgi_fail(m->error, RG_ERR_FORMAT, m->offset, "%s: data.pkl does not begin as a pickle of protocol 2 to 5", m->path);
    for (;;) {
        m->at = m->reader.at;
        m->opcode = (unsigned)rgi_reader_little(&m->reader, 1);
        if (m->reader.is_bad) return rgi_fail(m->error, RG_ERR_FORMAT, m->offset + m->at, "%s: data.pkl has no end", m->path);
        if (m->opcode == '.') return finish(m, pickle);
        const rg_status status = step(m);
        if (status != RG_OK) return status;
    }
}

rg_status rgi_torch_pickle_read(rgi_torch_pickle *pickle, const rgi_host *host, const char *text, size_t n, const char *path, uint64_t offset, rg_error *error)
{
    const size_t n_tensors = host->limits.n_tensors;
    memset(pickle, 0, sizeof *pickle);
    /* A place has 32 bits, a length 28. */
    if (n >> 28) return rgi_fail(error, RG_ERR_LIMIT, offset, "%s: data.pkl has more than 2^28 bytes", path);
    machine m = { .host = host, .path = path, .text = text, .offset = offset, .error = error, .reader = rgi_reader_of(text, n),
                  .stack.most = STACK_VALUES * n_tensors + LEAST_VALUES, .memo.most = MEMO_VALUES * n_tensors + LEAST_VALUES,
                  .tuples.most = TUPLE_VALUES * n_tensors + LEAST_VALUES };
    const rg_status status = run(&m, pickle);
    rgi_free(&host->allocator, m.stack.values);
    rgi_free(&host->allocator, m.memo.values);
    rgi_free(&host->allocator, m.tuples.values);
    rgi_free(&host->allocator, m.dictionaries);
    rgi_free(&host->allocator, m.tensors);
    return status;
}
