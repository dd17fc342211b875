/* The table image, and its judgement. Private to stream_scorer_edge.c.
 *
 * All numbers are little-endian. Offsets count from the start of the image and are multiples of 64.
 * `table_image.py` in the folder edge/export of stream-scorer writes images.
 */
#ifndef STREAM_SCORER_IMAGE_H
#define STREAM_SCORER_IMAGE_H

#include "stream_scorer_edge.h"

#define SS_MAGIC "SSEDGE1\0"
#define SS_FEATURES_MOST 32767u
#define SS_PARTS_MOST 100u
#define SS_STEPS_MOST 16u
#define SS_SEGMENTS_MOST 64u
#define SS_FIELDS_MOST 64u
#define SS_LINE 64u
#define SS_TREES_AT_ONCE 8u

enum { SS_LINEAR = 0, SS_MASKS = 1, SS_WALK = 2 };
enum {
    SS_IMPUTE = 1, SS_AFFINE, SS_MULTIPLY, SS_CLIP, SS_SELECT, SS_INTEGERS, SS_MISSING,
    SS_SIGMOID, SS_SINGLE_SIGMOID, SS_TABLE, SS_PLATT
};

typedef struct {
    char magic[8];
    uint32_t abi;
    uint32_t checksum; /* CRC-32 of everything after it */
    uint64_t bytes;
    uint32_t features, parts, steps, fields, segments, edges;
    uint32_t on_model_error, zero;
    uint64_t parts_at;      /* ss_part[parts] */
    uint64_t steps_at;      /* ss_step[steps] */
    uint64_t fields_at;     /* ss_field[fields] */
    uint64_t edges_at;      /* int64_t[edges], amounts at which segments begin or end */
    uint64_t edge_bits_at;  /* uint64_t[edges + 1], the segments that fit an amount */
    uint64_t limits_at;     /* double[segments + 2][2]: REVIEW and BLOCK of each segment, of no
                               segment, and of the model itself */
    uint64_t name_starts_at; /* uint32_t[features + 1], where the features' names start */
    uint64_t names_at;
} ss_header;

typedef struct {
    uint32_t kind, count;
    double a, b;
    uint64_t first_at, second_at;
} ss_step;

typedef struct {
    uint32_t kind;   /* SS_LINEAR, SS_MASKS or SS_WALK */
    uint32_t width;  /* columns that the body takes */
    uint32_t first_step, before, after; /* the steps of a part follow one another */
    uint32_t single; /* whether sums are floats */
    double divisor, scale, bias;
    double baseline; /* of trees; the intercept of weights */
    uint32_t trees;
    uint32_t leaves;  /* of a tree: 32 or 64 */
    uint32_t columns; /* features that trees use */
    uint32_t cuts, places, groups, used, lines, nodes;
    uint32_t levels;  /* steps of the search among the cuts of a node; 0 if each has one cut */
    uint64_t weights_at;   /* double[width] */
    uint64_t columns_at;   /* ss_column[columns] */
    uint64_t cuts_at;      /* double[cuts] */
    uint64_t places_at;    /* uint16_t[groups][places], lines within the group */
    uint64_t groups_at;    /* ss_group[groups + 1] */
    uint64_t used_at;      /* int32_t[used], columns of each group */
    uint64_t table_at;     /* SS_LINE bytes[lines] */
    uint64_t values_at;    /* double or float: [trees][leaves], or [nodes] */
    uint64_t nodes_at;     /* ss_node[nodes]; the last one is not used */
    uint64_t first_cut_at; /* uint32_t[nodes + 1], only if levels > 0 */
    uint64_t roots_at;     /* int32_t[trees] */
    uint64_t depths_at;    /* int32_t[trees / 8, rounded up] */
} ss_part;

typedef struct {
    int32_t feature, start, levels, first, missing;
} ss_column;

typedef struct {
    int32_t line, used;
} ss_group;

typedef struct {
    double threshold;
    int32_t left;
    int16_t feature, missing;
} ss_node;

typedef struct {
    uint32_t values, zero;
    uint64_t bits_at;   /* uint64_t[values + 1], the last for all other values */
    uint64_t starts_at; /* uint32_t[values + 2]: the field's name, then its values */
    uint64_t texts_at;
} ss_field;

static const ss_header *ss_header_of(const ss_model *m) { return (const ss_header *)m->image; }

static const void *ss_at(const ss_model *m, uint64_t at) { return m->image + at; }

static const ss_part *ss_parts(const ss_model *m) {
    return (const ss_part *)ss_at(m, ss_header_of(m)->parts_at);
}

static const ss_step *ss_steps(const ss_model *m, uint32_t first) {
    return (const ss_step *)ss_at(m, ss_header_of(m)->steps_at) + first;
}

static const ss_field *ss_fields(const ss_model *m) {
    return (const ss_field *)ss_at(m, ss_header_of(m)->fields_at);
}

/* The CRC-32 of zlib, four bits at a time. */
static uint32_t ss_crc(const unsigned char *data, uint64_t bytes) {
    static const uint32_t table[16] = {
        0x00000000u, 0x1db71064u, 0x3b6e20c8u, 0x26d930acu, 0x76dc4190u, 0x6b6b51f4u,
        0x4db26158u, 0x5005713cu, 0xedb88320u, 0xf00f9344u, 0xd6d6a3e8u, 0xcb61b38cu,
        0x9b64c2b0u, 0x86d3d2d4u, 0xa00ae278u, 0xbdbdf21cu};
    uint32_t crc = 0xffffffffu;
    for (uint64_t i = 0; i < bytes; i++) {
        crc ^= data[i];
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
    }
    return ~crc;
}

/* Whether an array of `count` elements of `size` bytes is inside of the image. */
static int ss_holds(const ss_model *m, uint64_t at, uint64_t count, uint64_t size) {
    return at % SS_ALIGNMENT == 0 && at <= m->bytes && count <= (m->bytes - at) / size;
}

static int ss_each_below(const int32_t *numbers, uint32_t count, uint32_t bound) {
    for (uint32_t i = 0; i < count; i++)
        if (numbers[i] < 0 || (uint32_t)numbers[i] >= bound) return 0;
    return 1;
}

/* Whether starts ascend from 0, and the bytes that they divide are inside of the image. */
static int ss_texts_fit(const ss_model *m, uint64_t starts_at, uint32_t count, uint64_t texts_at) {
    if (!ss_holds(m, starts_at, (uint64_t)count + 1, 4)) return 0;
    const uint32_t *starts = (const uint32_t *)ss_at(m, starts_at);
    if (starts[0] != 0) return 0;
    for (uint32_t i = 0; i < count; i++)
        if (starts[i + 1] < starts[i]) return 0;
    return ss_holds(m, texts_at, starts[count], 1);
}

static int ss_step_fits(const ss_model *m, const ss_step *s, int before, uint32_t *width) {
    if ((s->kind <= SS_MISSING) != before) return 0;
    switch (s->kind) {
    case SS_IMPUTE:
        return s->count == *width && ss_holds(m, s->first_at, s->count, 8);
    case SS_AFFINE:
    case SS_MULTIPLY:
        return s->count == *width && ss_holds(m, s->first_at, s->count, 8) &&
               ss_holds(m, s->second_at, s->count, 8);
    case SS_SELECT:
    case SS_INTEGERS:
        if (s->count == 0 || s->count > SS_FEATURES_MOST || !ss_holds(m, s->first_at, s->count, 4))
            return 0;
        if (!ss_each_below((const int32_t *)ss_at(m, s->first_at), s->count, *width)) return 0;
        if (s->kind == SS_SELECT) *width = s->count;
        return 1;
    case SS_TABLE:
        return s->count > 0 && ss_holds(m, s->first_at, s->count, 8) &&
               ss_holds(m, s->second_at, s->count, 8);
    default:
        return s->kind >= SS_CLIP && s->kind <= SS_PLATT;
    }
}

static int ss_masks_fit(const ss_model *m, const ss_part *p) {
    if ((p->leaves != 32 && p->leaves != 64) || p->groups == 0) return 0;
    uint64_t number = p->single ? 4 : 8, trees = SS_LINE / (p->leaves / 8);
    if (p->trees > p->groups * trees || p->trees <= (p->groups - 1) * trees) return 0;
    if (!ss_holds(m, p->columns_at, p->columns, sizeof(ss_column)) ||
        !ss_holds(m, p->cuts_at, p->cuts, 8) ||
        !ss_holds(m, p->places_at, (uint64_t)p->groups * p->places, 2) ||
        !ss_holds(m, p->groups_at, (uint64_t)p->groups + 1, sizeof(ss_group)) ||
        !ss_holds(m, p->used_at, p->used, 4) || !ss_holds(m, p->table_at, p->lines, SS_LINE) ||
        !ss_holds(m, p->values_at, (uint64_t)p->trees * p->leaves, number))
        return 0;
    const double *cuts = (const double *)ss_at(m, p->cuts_at);
    const ss_column *column = (const ss_column *)ss_at(m, p->columns_at);
    for (uint32_t k = 0; k < p->columns; k++, column++) {
        /* A search ends at most `count` cuts after its start, as infinity follows them. */
        int64_t count = (int64_t)column->missing - column->first - 1;
        if (column->feature < 0 || (uint32_t)column->feature >= p->width || column->start < 0 ||
            column->levels < 0 || column->levels > 30 || column->first < 0 || count < 0 ||
            (uint32_t)column->missing >= p->places)
            return 0;
        int64_t size = (INT64_C(1) << column->levels) - 1;
        if (count > size || column->start + size > (int64_t)p->cuts) return 0;
        for (int64_t i = count; i < size; i++)
            if (!(cuts[column->start + i] > DBL_MAX)) return 0;
    }
    const ss_group *group = (const ss_group *)ss_at(m, p->groups_at);
    const uint16_t *place = (const uint16_t *)ss_at(m, p->places_at);
    if (group[0].line != 0 || group[0].used != 0) return 0;
    for (uint32_t g = 0; g < p->groups; g++, group++) {
        if (group[1].line <= group[0].line || group[1].used < group[0].used) return 0;
        for (uint32_t i = 0; i < p->places; i++, place++)
            if (*place >= group[1].line - group[0].line) return 0;
    }
    return (uint32_t)group->line == p->lines && (uint32_t)group->used == p->used &&
           ss_each_below((const int32_t *)ss_at(m, p->used_at), p->used, p->columns);
}

static int ss_walk_fits(const ss_model *m, const ss_part *p) {
    uint32_t eights = p->trees / SS_TREES_AT_ONCE + (p->trees % SS_TREES_AT_ONCE != 0);
    if (p->nodes < 2 || p->levels > 31 ||
        !ss_holds(m, p->nodes_at, p->nodes, sizeof(ss_node)) ||
        !ss_holds(m, p->values_at, p->nodes, p->single ? 4 : 8) ||
        !ss_holds(m, p->roots_at, p->trees, 4) || !ss_holds(m, p->depths_at, eights, 4))
        return 0;
    const int32_t *depths = (const int32_t *)ss_at(m, p->depths_at);
    if (!ss_each_below((const int32_t *)ss_at(m, p->roots_at), p->trees, p->nodes - 1) ||
        !ss_each_below(depths, eights, p->nodes))
        return 0;
    const ss_node *node = (const ss_node *)ss_at(m, p->nodes_at);
    for (uint32_t i = 0; i < p->nodes; i++, node++)
        if (node->left < 0 || (uint32_t)node->left >= p->nodes - 1 || node->feature < 0 ||
            (uint32_t)node->feature >= p->width || node->missing < 0 || node->missing > 1)
            return 0;
    if (p->levels == 0) return 1;
    if (p->cuts == 0 || !ss_holds(m, p->cuts_at, p->cuts, 8) ||
        !ss_holds(m, p->first_cut_at, (uint64_t)p->nodes + 1, 4))
        return 0;
    const uint32_t *first = (const uint32_t *)ss_at(m, p->first_cut_at);
    for (uint32_t i = 0; i < p->nodes; i++)
        if (first[i + 1] < first[i] || first[i + 1] > p->cuts) return 0;
    return 1;
}

/* Judge a part; keep the largest width of its rows and the largest number of its columns. */
static int ss_part_fits(const ss_model *m, const ss_part *p, uint32_t *widest, uint32_t *columns) {
    uint32_t width = ss_header_of(m)->features, steps = ss_header_of(m)->steps;
    if (p->before > SS_STEPS_MOST || p->after > SS_STEPS_MOST || p->first_step > steps ||
        p->before + p->after > steps - p->first_step)
        return 0;
    for (uint32_t i = 0; i < p->before + p->after; i++) {
        if (!ss_step_fits(m, ss_steps(m, p->first_step + i), i < p->before, &width)) return 0;
        if (width > *widest) *widest = width;
    }
    if (p->width != width || p->single > 1) return 0;
    if (p->kind == SS_LINEAR) return ss_holds(m, p->weights_at, width, 8);
    if (p->trees == 0 || p->trees > (1u << 17)) return 0;
    if (p->columns > *columns && p->kind == SS_MASKS) *columns = p->columns;
    return p->kind == SS_MASKS ? ss_masks_fit(m, p) : p->kind == SS_WALK && ss_walk_fits(m, p);
}

static int ss_policy_fits(const ss_model *m) {
    const ss_header *h = ss_header_of(m);
    if (h->segments > SS_SEGMENTS_MOST || h->fields > SS_FIELDS_MOST ||
        h->on_model_error > SS_BLOCK ||
        !ss_holds(m, h->fields_at, h->fields, sizeof(ss_field)) ||
        !ss_holds(m, h->edges_at, h->edges, 8) ||
        !ss_holds(m, h->edge_bits_at, (uint64_t)h->edges + 1, 8) ||
        !ss_holds(m, h->limits_at, (uint64_t)h->segments + 2, 16))
        return 0;
    uint64_t known = h->segments == 64 ? ~UINT64_C(0) : (UINT64_C(1) << h->segments) - 1;
    const uint64_t *bits = (const uint64_t *)ss_at(m, h->edge_bits_at);
    for (uint64_t i = 0; i <= h->edges; i++)
        if (bits[i] & ~known) return 0;
    for (uint32_t f = 0; f < h->fields; f++) {
        const ss_field *field = ss_fields(m) + f;
        if (field->values >= UINT16_MAX ||
            !ss_holds(m, field->bits_at, (uint64_t)field->values + 1, 8) ||
            !ss_texts_fit(m, field->starts_at, field->values + 1, field->texts_at))
            return 0;
    }
    return ss_texts_fit(m, h->name_starts_at, h->features, h->names_at);
}

static int ss_judge(ss_model *m) {
    const ss_header *h = ss_header_of(m);
    if (m->bytes < sizeof(ss_header)) return SS_TRUNCATED;
    for (uint32_t i = 0; i < 8; i++)
        if (h->magic[i] != SS_MAGIC[i]) return SS_NOT_AN_IMAGE;
    if (h->abi != SS_ABI) return SS_OTHER_ABI;
    if (h->bytes != m->bytes) return SS_TRUNCATED;
    if (h->checksum != ss_crc(m->image + 16, m->bytes - 16)) return SS_DAMAGED;
    if (h->features == 0 || h->features > SS_FEATURES_MOST || h->parts == 0 ||
        h->parts > SS_PARTS_MOST || h->steps > 2 * SS_STEPS_MOST * SS_PARTS_MOST ||
        !ss_holds(m, h->parts_at, h->parts, sizeof(ss_part)) ||
        !ss_holds(m, h->steps_at, h->steps, sizeof(ss_step)) || !ss_policy_fits(m))
        return SS_MALFORMED;
    uint32_t widest = h->features, columns = 0;
    for (uint32_t i = 0; i < h->parts; i++)
        if (!ss_part_fits(m, ss_parts(m) + i, &widest, &columns)) return SS_MALFORMED;
    m->columns = (columns + 15u) / 16u * 16u;
    m->scratch = m->columns * 4 + 2 * ((widest + 7u) / 8u * 8u) * (uint64_t)8;
    return SS_OK;
}

#endif
