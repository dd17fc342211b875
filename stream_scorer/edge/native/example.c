/* Decides rows of standard input: on each line the features, separated by commas (`nan` for a
 * missing one), then, if the policy has segments, the amount in minor units and the policy's fields
 * (`-` for a missing one).
 *
 *     ./example < rows.csv
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream_scorer_edge.h"

extern const char ss_tables[], ss_tables_end[];

/* Return the next part of a line, and move behind it; NULL after the last one. */
static char *next_part(char **rest) {
    char *part = *rest;
    if (!part) return NULL;
    size_t size = strcspn(part, ",\r\n");
    *rest = part[size] == ',' ? part + size + 1 : NULL;
    part[size] = 0;
    return part;
}

/* Read a line; return 0 if it does not have the values that the model and its policy need. */
static int read_line(const ss_model *model, char *line, double *row, int64_t *amount,
                     uint16_t *values) {
    char *rest = line, *end;
    for (uint32_t i = 0; i < ss_feature_count(model); i++) {
        const char *part = next_part(&rest);
        if (!part) return 0;
        row[i] = strtod(part, &end);
        if (end == part || *end) return 0;
    }
    if (!ss_segment_count(model)) return !rest;
    const char *part = next_part(&rest);
    if (!part) return 0;
    errno = 0;
    *amount = strtoll(part, &end, 10);
    if (end == part || *end || errno) return 0;
    for (uint32_t field = 0; field < ss_field_count(model); field++) {
        part = next_part(&rest);
        if (!part) return 0;
        const char *text = strcmp(part, "-") ? part : NULL;
        values[field] = (uint16_t)ss_value(model, field, text, text ? strlen(text) : 0);
    }
    return !rest;
}

int main(void) {
    static const char *const outcomes[] = {"APPROVE", "REVIEW", "BLOCK"};
    static char line[1 << 20];
    ss_model model;
    int code = ss_open(&model, ss_tables, (size_t)(ss_tables_end - ss_tables));
    if (code != SS_OK) return fprintf(stderr, "the model is refused, code %d\n", code), 2;
    double *row = malloc(ss_feature_count(&model) * sizeof *row);
    uint16_t *values = malloc((ss_field_count(&model) + 1u) * sizeof *values);
    void *memory = malloc(ss_scratch_size(&model) + SS_ALIGNMENT);
    if (!row || !values || !memory) return fprintf(stderr, "no memory\n"), 2;
    void *scratch = (char *)memory + SS_ALIGNMENT - (uintptr_t)memory % SS_ALIGNMENT;
    for (unsigned long number = 1; fgets(line, sizeof line, stdin); number++) {
        ss_event event = {0, values};
        ss_result found;
        if (!read_line(&model, line, row, &event.amount_minor, values))
            return fprintf(stderr, "line %lu: not the values that are needed\n", number), 2;
        ss_decide(&model, row, &event, scratch, &found);
        printf("%s %.17g%s\n", outcomes[found.outcome], found.score, found.failed ? " failed" : "");
    }
    free(row);
    free(values);
    free(memory);
    return 0;
}
