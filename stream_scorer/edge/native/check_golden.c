/* Scores the rows of golden.bin by the model in this program, and compares every bit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream_scorer_edge.h"

extern const char ss_tables[], ss_tables_end[];

typedef struct {
    char magic[8];
    uint32_t features, fields;
    uint64_t rows, rows_at, amounts_at, values_at, results_at;
} golden_header;

static void *read_all(const char *name, size_t *bytes) {
    FILE *file = fopen(name, "rb");
    if (!file || fseek(file, 0, SEEK_END) || ftell(file) < 0) return NULL;
    *bytes = (size_t)ftell(file);
    rewind(file);
    void *data = malloc(*bytes + 1);
    if (data && fread(data, 1, *bytes, file) != *bytes) data = NULL;
    fclose(file);
    return data;
}

/* Whether an array of `size` bytes for each row is inside of the file. */
static int inside(const golden_header *golden, size_t bytes, uint64_t at, uint64_t size) {
    return at % SS_ALIGNMENT == 0 && at <= bytes && size <= (bytes - at) / golden->rows;
}

static int whole(const golden_header *golden, size_t bytes) {
    return golden->rows > 0 &&
           inside(golden, bytes, golden->rows_at, golden->features * sizeof(double)) &&
           inside(golden, bytes, golden->amounts_at, sizeof(int64_t)) &&
           inside(golden, bytes, golden->values_at, golden->fields * sizeof(uint16_t)) &&
           inside(golden, bytes, golden->results_at, sizeof(ss_result));
}

int main(int count, char **names) {
    size_t bytes = 0;
    ss_model model;
    int code = ss_open(&model, ss_tables, (size_t)(ss_tables_end - ss_tables));
    if (code != SS_OK) return fprintf(stderr, "tables.bin: refused, code %d\n", code), 2;
    unsigned char *data = read_all(count > 1 ? names[1] : "golden.bin", &bytes);
    const golden_header *golden = (const golden_header *)data;
    if (!data || bytes < sizeof *golden || memcmp(golden->magic, "SSGOLD1", 8) ||
        golden->features != ss_feature_count(&model) || golden->fields != ss_field_count(&model) ||
        !whole(golden, bytes)) {
        free(data);
        return fprintf(stderr, "golden.bin: not this model's golden rows\n"), 2;
    }
    void *memory = malloc(ss_scratch_size(&model) + SS_ALIGNMENT);
    if (!memory) return fprintf(stderr, "no memory\n"), 2;
    void *scratch = (char *)memory + SS_ALIGNMENT - (uintptr_t)memory % SS_ALIGNMENT;
    const double *rows = (const double *)(data + golden->rows_at);
    const int64_t *amounts = (const int64_t *)(data + golden->amounts_at);
    const uint16_t *values = (const uint16_t *)(data + golden->values_at);
    const ss_result *expected = (const ss_result *)(data + golden->results_at);
    unsigned long different = 0;
    for (uint64_t i = 0; i < golden->rows; i++) {
        ss_event event = {amounts[i], values + i * golden->fields};
        ss_result found;
        code = ss_decide(&model, rows + i * golden->features, &event, scratch, &found);
        if (code == SS_OK && !memcmp(&found, expected + i, sizeof found)) continue;
        if (!different++)
            fprintf(stderr, "row %lu: margin %.17g instead of %.17g, score %.17g instead of %.17g\n",
                    (unsigned long)i, found.margin, expected[i].margin, found.score,
                    expected[i].score);
    }
    printf("%lu golden rows, %lu differ\n", (unsigned long)golden->rows, different);
    free(memory);
    free(data);
    return different > 0;
}
