/* Decides rows of standard input: on each line the features, separated by commas (`nan` for a
 * missing one), then, if the policy has segments, the amount in minor units and the policy's fields
 * (`-` for a missing one).
 *
 *     ./example < rows.csv
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream_scorer_edge.h"

extern const char ss_tables[], ss_tables_end[];

int main(void) {
    static const char *const outcomes[] = {"APPROVE", "REVIEW", "BLOCK"};
    static char line[1 << 20];
    ss_model model;
    int code = ss_open(&model, ss_tables, (size_t)(ss_tables_end - ss_tables));
    if (code != SS_OK) return fprintf(stderr, "the model is refused, code %d\n", code), 2;
    uint32_t features = ss_feature_count(&model), fields = ss_field_count(&model);
    double *row = malloc(features * sizeof *row);
    uint16_t *values = malloc((fields + 1u) * sizeof *values);
    void *memory = malloc(ss_scratch_size(&model) + SS_ALIGNMENT);
    if (!row || !values || !memory) return fprintf(stderr, "no memory\n"), 2;
    void *scratch = (char *)memory + SS_ALIGNMENT - (uintptr_t)memory % SS_ALIGNMENT;
    while (fgets(line, sizeof line, stdin)) {
        char *part = strtok(line, ",\r\n");
        ss_event event = {0, values};
        ss_result found;
        uint32_t given = 0;
        for (; part && given < features; given++, part = strtok(NULL, ",\r\n"))
            row[given] = strtod(part, NULL);
        if (given < features) return fprintf(stderr, "a row of %u features\n", given), 2;
        if (part) event.amount_minor = strtoll(part, NULL, 10);
        for (uint32_t field = 0; field < fields; field++) {
            part = part ? strtok(NULL, ",\r\n") : NULL;
            const char *text = part && strcmp(part, "-") ? part : NULL;
            values[field] = (uint16_t)ss_value(&model, field, text, text ? strlen(text) : 0);
        }
        ss_decide(&model, row, &event, scratch, &found);
        printf("%s %.17g%s\n", outcomes[found.outcome], found.score, found.failed ? " failed" : "");
    }
    free(row);
    free(values);
    free(memory);
    return 0;
}
