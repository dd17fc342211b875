/* Times each row alone: timing TABLES ROWS COUNT REPEATS. Of the rows' times in nanoseconds, each the
 * least of the repeats, prints the median, the 99.9 % point and the maximum. */
#define _POSIX_C_SOURCE 200112L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "stream_scorer_edge.h"

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void *read_all(const char *name, size_t *bytes) {
    void *data = NULL;
    FILE *file = fopen(name, "rb");
    if (!file || fseek(file, 0, SEEK_END)) exit(2);
    *bytes = (size_t)ftell(file);
    rewind(file);
    if (posix_memalign(&data, SS_ALIGNMENT, *bytes) || fread(data, 1, *bytes, file) != *bytes) exit(2);
    fclose(file);
    return data;
}

int main(int given, char **names) {
    if (given != 5) return 2;
    size_t bytes, row_bytes;
    void *image = read_all(names[1], &bytes), *scratch = NULL;
    const double *rows = read_all(names[2], &row_bytes);
    size_t count = strtoul(names[3], NULL, 10), repeats = strtoul(names[4], NULL, 10);
    ss_model model;
    if (ss_open(&model, image, bytes) || posix_memalign(&scratch, 64, ss_scratch_size(&model)))
        return 2;
    size_t width = ss_feature_count(&model);
    if (row_bytes < count * width * sizeof *rows) return 2;
    ss_result *results = malloc(count * sizeof *results);
    double *least = malloc(count * sizeof *least);
    if (!results || !least) return 2;
    for (size_t pass = 0; pass < repeats; pass++)
        for (size_t i = 0; i < count; i++) {
            double start = now();
            ss_decide(&model, rows + i * width, NULL, scratch, results + i);
            double taken = now() - start;
            if (pass == 0 || taken < least[i]) least[i] = taken;
        }
    qsort(least, count, sizeof *least, ascending);
    printf("%.0f %.0f %.0f\n", least[count / 2], least[(size_t)((double)count * 0.999)],
           least[count - 1]);
    return 0;
}
