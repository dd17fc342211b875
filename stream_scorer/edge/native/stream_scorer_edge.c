/* The kernel. Its results have the same bits as those of stream-scorer, if it is compiled with
 * -ffp-contract=off and without -ffast-math: every operation is one of IEEE 754, in a fixed order,
 * and each is rounded. A row takes the same steps whatever its values are.
 */
#include <float.h>
#include <string.h>

#include "stream_scorer_edge.h"

#if !defined(__GNUC__)
#error "needs gcc or clang"
#elif __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "images are little-endian"
#elif defined(__FAST_MATH__) || FLT_EVAL_METHOD != 0
#error "needs IEEE 754 arithmetic: no -ffast-math, and no x87"
#endif

#include "arithmetic.h"
#include "image.h"

#define SS_INLINE static inline __attribute__((always_inline))

_Static_assert(sizeof(ss_model) <= 4096, "the model's memory is part of the interface");
_Static_assert(sizeof(ss_header) == 120 && sizeof(ss_part) == 192 && sizeof(ss_step) == 40 &&
                   sizeof(ss_field) == 32 && sizeof(ss_node) == 16,
               "images are written with these sizes");

#define SS_NAN __builtin_nan("")

uint32_t ss_abi(void) { return SS_ABI; }
size_t ss_model_size(void) { return sizeof(ss_model); }
int ss_open(ss_model *m, const void *image, size_t bytes) {
    m->image = (const unsigned char *)image;
    m->bytes = bytes;
    m->scratch = m->columns = 0;
    return (uintptr_t)image % SS_ALIGNMENT ? SS_NOT_ALIGNED : ss_judge(m);
}

size_t ss_scratch_size(const ss_model *m) { return (size_t)m->scratch; }
uint32_t ss_feature_count(const ss_model *m) { return ss_header_of(m)->features; }
uint32_t ss_field_count(const ss_model *m) { return ss_header_of(m)->fields; }
uint32_t ss_segment_count(const ss_model *m) { return ss_header_of(m)->segments; }

int ss_value(const ss_model *m, uint32_t number, const char *text, size_t bytes) {
    if (number >= ss_header_of(m)->fields) return SS_NO_FIELD;
    const ss_field *field = ss_fields(m) + number;
    const uint32_t *starts = (const uint32_t *)ss_at(m, field->starts_at);
    const char *texts = (const char *)ss_at(m, field->texts_at);
    for (uint32_t v = 1; text && v <= field->values; v++) {
        if (starts[v + 1] - starts[v] != bytes) continue;
        size_t i = 0;
        while (i < bytes && texts[starts[v] + i] == text[i]) i++;
        if (i == bytes) return (int)v - 1;
    }
    return (int)field->values;
}

/* --- The steps on a row ------------------------------------------------------------------- */

SS_INLINE int ss_integer(double x, double most) {
    double size = x < 0 ? -x : x;
    double small = size <= 4503599627370496.0 ? x : 0.0; /* above 2^52 all numbers are integers */
    return (size <= most) & ((double)(int64_t)small == small);
}

/* Return the row that the body of a part takes; `good` becomes 0 if a step refuses the row. */
static const double *ss_prepared(const ss_model *m, const ss_part *p, const double *row,
                                 double *memory, int *good) {
    size_t size = (size_t)(m->scratch - m->columns * 4) / 16; /* of one of two rows */
    double *next = memory;
    uint32_t width = ss_feature_count(m);
    const ss_step *s = ss_steps(m, p->first_step);
    for (uint32_t number = 0; number < p->before; number++, s++) {
        const double *u = (const double *)ss_at(m, s->first_at);
        const double *v = (const double *)ss_at(m, s->second_at);
        const int32_t *columns = (const int32_t *)ss_at(m, s->first_at);
        double a = s->a, b = s->b;
        uint32_t i;
        switch (s->kind) {
        case SS_IMPUTE:
            for (i = 0; i < width; i++)
                next[i] = ((row[i] == a) | ((row[i] != row[i]) & (a != a))) ? u[i] : row[i];
            break;
        case SS_AFFINE:
            for (i = 0; i < width; i++) next[i] = (row[i] - u[i]) / v[i];
            break;
        case SS_MULTIPLY:
            for (i = 0; i < width; i++) next[i] = row[i] * u[i] + v[i];
            break;
        case SS_CLIP:
            for (i = 0; i < width; i++) {
                double x = row[i] < a ? a : row[i];
                next[i] = x > b ? b : x;
            }
            break;
        case SS_SELECT:
            for (i = 0; i < s->count; i++) next[i] = row[columns[i]];
            width = s->count;
            break;
        case SS_INTEGERS:
            for (i = 0; i < s->count; i++) *good &= ss_integer(row[columns[i]], a);
            continue;
        default: /* SS_MISSING */
            for (i = 0; i < width; i++)
                next[i] = (b != 0.0 ? (double)(float)row[i] : row[i]) == a ? SS_NAN : row[i];
        }
        row = next;
        next = next == memory ? memory + size : memory;
    }
    return row;
}

/* --- The bodies --------------------------------------------------------------------------- */

static double ss_weighted(const ss_model *m, const ss_part *p, const double *row, int *good) {
    const double *weights = (const double *)ss_at(m, p->weights_at);
    double total = 0.0;
    for (uint32_t i = 0; i < p->width; i++) total += weights[i] * row[i];
    total += p->baseline;
    *good &= (total >= -DBL_MAX) & (total <= DBL_MAX);
    return total;
}

static void ss_find_places(const ss_model *m, const ss_part *p, const double *row,
                           uint32_t *places) {
    const double *all = (const double *)ss_at(m, p->cuts_at);
    const ss_column *c = (const ss_column *)ss_at(m, p->columns_at);
    for (uint32_t k = 0; k < p->columns; k++, c++) {
        double value = row[c->feature];
        const double *cuts = all + c->start;
        uint32_t at = 0;
        for (uint32_t level = (uint32_t)c->levels; level-- > 0;)
            at += (uint32_t)(cuts[at + (1u << level) - 1u] < value) << level;
        places[k] = value == value ? (uint32_t)c->first + at : (uint32_t)c->missing;
    }
}

/* The numbers of leaves come from lines of 64 bytes, in which each tree has a word of one bit for
 * each leaf. The lowest bit that is set in all lines is the leaf. */
SS_INLINE double ss_masked(const ss_model *m, const ss_part *p, const uint32_t *places, int wide,
                           int single) {
    const uint16_t *place = (const uint16_t *)ss_at(m, p->places_at);
    const int32_t *used = (const int32_t *)ss_at(m, p->used_at);
    const ss_group *group = (const ss_group *)ss_at(m, p->groups_at);
    const unsigned char *table = (const unsigned char *)ss_at(m, p->table_at);
    const double *value = (const double *)ss_at(m, p->values_at);
    const float *value_single = (const float *)ss_at(m, p->values_at);
    const uint32_t in_line = wide ? 8 : 16, leaves = wide ? 64 : 32;
    uint32_t left = p->trees;
    size_t base = 0;
    double total = p->baseline;
    float total_single = (float)p->baseline;
    for (uint32_t g = 0; g < p->groups; g++, group++, place += p->places) {
        uint64_t words[8];
        uint32_t halves[16];
        for (int w = 0; w < 8; w++) words[w] = ~UINT64_C(0);
        for (int32_t i = group[0].used; i < group[1].used; i++) {
            const uint64_t *line = (const uint64_t *)(
                table + ((uint64_t)group[0].line + place[places[used[i]]]) * SS_LINE);
            for (int w = 0; w < 8; w++) words[w] &= line[w];
        }
        if (!wide) memcpy(halves, words, sizeof words);
        uint32_t count = left < in_line ? left : in_line;
        for (uint32_t t = 0; t < count; t++) {
            uint32_t leaf = wide ? (uint32_t)__builtin_ctzll(words[t] | UINT64_C(1) << 63)
                                 : (uint32_t)__builtin_ctz(halves[t] | UINT32_C(1) << 31);
            if (single) total_single += value_single[base + leaf];
            else total += value[base + leaf];
            base += leaves;
        }
        left -= count;
    }
    return single ? (double)total_single : total;
}

SS_INLINE uint32_t ss_child(const ss_node *nodes, uint32_t at, const double *row) {
    const ss_node *node = nodes + at;
    double value = row[node->feature];
    uint32_t right = value > node->threshold;
    return (uint32_t)node->left + (value == value ? right : (uint32_t)node->missing);
}

SS_INLINE uint32_t ss_child_by_cuts(const ss_model *m, const ss_part *p, const ss_node *nodes,
                                    uint32_t at, const double *row) {
    const uint32_t *first = (const uint32_t *)ss_at(m, p->first_cut_at) + at;
    const double *cuts = (const double *)ss_at(m, p->cuts_at);
    double value = row[nodes[at].feature];
    uint32_t count = first[1] - first[0], below = 0;
    for (uint32_t level = p->levels; level-- > 0;) {
        uint32_t next = below + (1u << level);
        uint32_t index = next <= count ? first[0] + next - 1u : 0u;
        below += (uint32_t)((next <= count) & (cuts[index] < value)) << level;
    }
    uint32_t right = value == value ? below & 1u : (uint32_t)nodes[at].missing;
    return (uint32_t)nodes[at].left + right;
}

/* Eight trees are walked together, to the depth of the deepest one: a leaf is its own child. */
SS_INLINE double ss_walked(const ss_model *m, const ss_part *p, const double *row, int by_cuts,
                           int single) {
    const ss_node *nodes = (const ss_node *)ss_at(m, p->nodes_at);
    const int32_t *roots = (const int32_t *)ss_at(m, p->roots_at);
    const int32_t *depths = (const int32_t *)ss_at(m, p->depths_at);
    const double *value = (const double *)ss_at(m, p->values_at);
    const float *value_single = (const float *)ss_at(m, p->values_at);
    double total = p->baseline;
    float total_single = (float)p->baseline;
    for (uint32_t tree = 0; tree < p->trees; tree += SS_TREES_AT_ONCE) {
        uint32_t left = p->trees - tree, at[SS_TREES_AT_ONCE];
        uint32_t count = left < SS_TREES_AT_ONCE ? left : SS_TREES_AT_ONCE;
        for (uint32_t i = 0; i < SS_TREES_AT_ONCE; i++)
            at[i] = (uint32_t)roots[tree + (i < count ? i : 0u)];
        for (int32_t depth = depths[tree / SS_TREES_AT_ONCE]; depth > 0; depth--)
            for (uint32_t i = 0; i < SS_TREES_AT_ONCE; i++)
                at[i] = by_cuts ? ss_child_by_cuts(m, p, nodes, at[i], row)
                                : ss_child(nodes, at[i], row);
        for (uint32_t i = 0; i < count; i++) {
            if (single) total_single += value_single[at[i]];
            else total += value[at[i]];
        }
    }
    return single ? (double)total_single : total;
}

static double ss_trees(const ss_model *m, const ss_part *p, const double *row, uint32_t *places) {
    if (p->kind == SS_WALK) {
        if (p->levels)
            return p->single ? ss_walked(m, p, row, 1, 1) : ss_walked(m, p, row, 1, 0);
        return p->single ? ss_walked(m, p, row, 0, 1) : ss_walked(m, p, row, 0, 0);
    }
    ss_find_places(m, p, row, places);
    if (p->leaves == 64)
        return p->single ? ss_masked(m, p, places, 1, 1) : ss_masked(m, p, places, 1, 0);
    return p->single ? ss_masked(m, p, places, 0, 1) : ss_masked(m, p, places, 0, 0);
}

/* --- From the margin to the score --------------------------------------------------------- */

/* A piecewise linear function; the search takes the same steps for each value. */
static double ss_interpolated(const ss_model *m, const ss_step *s, double value) {
    const double *x = (const double *)ss_at(m, s->first_at);
    const double *y = (const double *)ss_at(m, s->second_at);
    uint32_t low = 0, last = s->count - 1u;
    for (uint32_t left = s->count; left > 1;) {
        uint32_t half = left / 2;
        low += x[low + half] <= value ? half : 0u;
        left -= half;
    }
    uint32_t high = low < last ? low + 1u : last;
    double slope = (y[high] - y[low]) / (x[high] - x[low]);
    double between = slope * (value - x[low]) + y[low];
    between = 0.0 > between ? 0.0 : between;
    between = 1.0 < between ? 1.0 : between;
    double found = value != x[low] ? between : y[low];
    found = value >= x[last] ? y[last] : found;
    found = value <= x[0] ? y[0] : found;
    return value == value ? found : value;
}

static double ss_finished(const ss_model *m, const ss_part *p, double value) {
    const ss_step *s = ss_steps(m, p->first_step + p->before);
    for (uint32_t number = 0; number < p->after; number++, s++) {
        switch (s->kind) {
        case SS_SIGMOID:
            if (s->a != 1.0 || s->b != 0.0) value = value * s->a + s->b;
            value = ss_expit(value);
            break;
        case SS_PLATT:
            value = ss_expit(-(value * s->a + s->b));
            break;
        case SS_SINGLE_SIGMOID:
            value = ss_single_sigmoid(value);
            break;
        default: /* SS_TABLE */
            value = ss_interpolated(m, s, value);
        }
    }
    return value;
}

/* --- The policy --------------------------------------------------------------------------- */

static int ss_segment(const ss_model *m, const ss_event *event) {
    const ss_header *h = ss_header_of(m);
    const int64_t *edges = (const int64_t *)ss_at(m, h->edges_at);
    const uint64_t *bits = (const uint64_t *)ss_at(m, h->edge_bits_at);
    uint32_t before = 0;
    for (uint32_t i = 0; i < h->edges; i++) before += edges[i] <= event->amount_minor;
    uint64_t left = bits[before];
    for (uint32_t f = 0; f < h->fields; f++) {
        const ss_field *field = ss_fields(m) + f;
        uint32_t value = event->values[f];
        left &= ((const uint64_t *)ss_at(m, field->bits_at))[
            value < field->values ? value : field->values];
    }
    return left ? __builtin_ctzll(left) : -1;
}

SS_INLINE uint8_t ss_outcome(double score, const double *limits) {
    return (uint8_t)((score >= limits[0]) + (score >= limits[1]));
}

int ss_decide(const ss_model *m, const double *row, const ss_event *event, void *scratch,
              ss_result *result) {
    const ss_header *h = ss_header_of(m);
    const double *limits = (const double *)ss_at(m, h->limits_at);
    double margin = 0.0, score = 0.0;
    int good = 1, segment = -1;
    if (h->segments) {
        if (!event || (h->fields && !event->values)) return SS_NO_EVENT;
        segment = ss_segment(m, event);
    }
    for (uint32_t number = 0; number < h->parts; number++) {
        const ss_part *p = ss_parts(m) + number;
        double *memory = (double *)((unsigned char *)scratch + m->columns * 4);
        const double *prepared = ss_prepared(m, p, row, memory, &good);
        double sum = p->kind == SS_LINEAR ? ss_weighted(m, p, prepared, &good)
                                          : ss_trees(m, p, prepared, (uint32_t *)scratch);
        sum /= p->divisor;
        if (p->scale != 1.0 || p->bias != 0.0) sum = sum * p->scale + p->bias;
        double finished = ss_finished(m, p, sum);
        margin = number ? margin + sum : sum;
        score = number ? score + finished : finished;
    }
    if (h->parts > 1) {
        margin /= (double)h->parts;
        score /= (double)h->parts;
    }
    good &= (score >= 0.0) & (score <= 1.0);
    memset(result, 0, sizeof *result);
    result->margin = good ? margin : SS_NAN;
    result->score = good ? score : SS_NAN;
    result->segment = (int16_t)segment;
    uint32_t applied = segment < 0 ? h->segments : (uint32_t)segment;
    result->outcome = good ? ss_outcome(score, limits + 2 * applied) : (uint8_t)h->on_model_error;
    result->model_outcome =
        good ? ss_outcome(score, limits + 2 * (h->segments + 1)) : (uint8_t)SS_NO_OUTCOME;
    result->failed = (uint8_t)!good;
    return SS_OK;
}

int ss_decide_rows(const ss_model *m, const double *rows, size_t count, const ss_event *events,
                   void *scratch, ss_result *results) {
    for (size_t i = 0; i < count; i++) {
        int code = ss_decide(m, rows + i * ss_feature_count(m), events ? events + i : NULL,
                             scratch, results + i);
        if (code != SS_OK) return code;
    }
    return SS_OK;
}
