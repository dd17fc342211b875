/* Changes some bytes of an image at a time, seals it again, and scores rows with each image that is
 * accepted: mutate IMAGE COUNT SEED. Prints how many were accepted and refused. Sanitizers end it. */
#define _POSIX_C_SOURCE 200112L
#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream_scorer_edge.h"

static uint64_t state;

static uint32_t number(uint32_t below) {
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((state >> 33) % below);
}

static uint32_t crc(const unsigned char *data, size_t bytes) {
    uint32_t found = 0xffffffffu;
    for (size_t i = 0; i < bytes; i++) {
        found ^= data[i];
        for (int bit = 0; bit < 8; bit++) found = (found >> 1) ^ (0xedb88320u & (0u - (found & 1u)));
    }
    return ~found;
}

static void *aligned(size_t bytes) { /* exactly so many bytes, so that a read after them is found */
    void *memory = NULL;
    if (posix_memalign(&memory, SS_ALIGNMENT, bytes ? bytes : 1)) exit(3);
    return memory;
}

int main(int count, char **names) {
    if (count != 4) return 2;
    FILE *file = fopen(names[1], "rb");
    if (!file || fseek(file, 0, SEEK_END)) return 2;
    size_t bytes = (size_t)ftell(file);
    rewind(file);
    unsigned char *original = aligned(bytes), *image = aligned(bytes);
    if (fread(original, 1, bytes, file) != bytes) return 2;
    fclose(file);
    state = strtoull(names[3], NULL, 10);
    unsigned opened = 0, refused = 0;
    static const unsigned char favourites[] = {0, 1, 2, 0x7f, 0x80, 0xff};
    for (long turn = strtol(names[2], NULL, 10); turn > 0; turn--) {
        memcpy(image, original, bytes);
        uint64_t parts_at, policy_at, most = bytes;
        memcpy(&parts_at, image + 56, 8);
        memcpy(&policy_at, image + 72, 8);
        for (uint32_t change = 1 + number(3); change > 0; change--) {
            /* The header, the parts, the policy's fields, or any array. */
            uint64_t starts[] = {24, parts_at, policy_at, 120}, sizes[] = {96, 192, 96, most - 120};
            uint32_t where = number(4);
            uint64_t at = starts[where] + number((uint32_t)sizes[where]);
            if (at < bytes)
                image[at] = number(2) ? favourites[number(6)] : (unsigned char)number(256);
        }
        uint32_t sum = crc(image + 16, bytes - 16);
        memcpy(image + 12, &sum, 4);
        ss_model model;
        if (ss_open(&model, image, bytes) != SS_OK) {
            refused++;
            continue;
        }
        opened++;
        uint32_t features = ss_feature_count(&model), fields = ss_field_count(&model);
        double *row = aligned(features * sizeof *row);
        uint16_t *values = aligned(fields * sizeof *values);
        void *scratch = aligned(ss_scratch_size(&model));
        for (uint32_t field = 0; field <= fields; field++) ss_value(&model, field, "ECOM", 4);
        for (int rows = 0; rows < 5; rows++) {
            static const double odd[] = {0.0, -1.0, 1e300, -1e300, DBL_MAX, 1e-320, 2.0};
            for (uint32_t i = 0; i < features; i++) {
                row[i] = rows == 0 ? __builtin_nan("") : odd[number(7)];
                if (rows == 1) row[i] = number(2) ? __builtin_inf() : -__builtin_inf();
            }
            for (uint32_t i = 0; i < fields; i++) values[i] = (uint16_t)number(65536);
            ss_event event = {(int64_t)number(1000000), values};
            ss_result found;
            ss_decide(&model, row, &event, scratch, &found);
        }
        free(row);
        free(values);
        free(scratch);
    }
    free(original);
    free(image);
    printf("%u %u\n", opened, refused);
    return 0;
}
