/* Scores a row of features with a fraud model. The model is a file: a table image, which
 * `stream-scorer export` writes. See README.md.
 *
 * C99. No allocation, no global state, no file, no library function but memcpy. The functions may
 * be called by several threads at once, each with its own scratch memory. Numbers that are not
 * negative are results; negative ones are errors.
 */
#ifndef STREAM_SCORER_EDGE_H
#define STREAM_SCORER_EDGE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SS_ABI 1
#define SS_ALIGNMENT 64 /* of images and of scratch memory, in bytes */

enum {
    SS_OK = 0,
    SS_NOT_ALIGNED = -1,  /* the image is not at a multiple of SS_ALIGNMENT */
    SS_NOT_AN_IMAGE = -2, /* other first bytes */
    SS_OTHER_ABI = -3,    /* the image is for another version of this interface */
    SS_TRUNCATED = -4,    /* the length is not what the image says */
    SS_DAMAGED = -5,      /* the checksum differs */
    SS_MALFORMED = -6,    /* an offset, a count or an index is not valid */
    SS_NO_EVENT = -7,     /* the policy needs the event, which is NULL */
    SS_NO_FIELD = -8      /* the policy does not have such a field */
};

enum { SS_APPROVE = 0, SS_REVIEW = 1, SS_BLOCK = 2, SS_NO_OUTCOME = 3 };

typedef struct { /* private; at most 4,096 bytes */
    const unsigned char *image;
    uint64_t bytes;
    uint64_t scratch;
    uint64_t columns;
} ss_model;

typedef struct { /* what the policy needs of the event */
    int64_t amount_minor;   /* the amount in minor units, such as cents */
    const uint16_t *values; /* by ss_value, one for each field of the policy */
} ss_event;

typedef struct {
    double margin;         /* the raw score, such as log-odds; NaN if the model failed */
    double score;          /* the probability of fraud; NaN if the model failed */
    int16_t segment;       /* the policy's segment that the event fits; -1 for none */
    uint8_t outcome;       /* by the policy's thresholds */
    uint8_t model_outcome; /* by the model's own thresholds; SS_NO_OUTCOME if it failed */
    uint8_t failed;        /* 1 if the model does not take the row, or its score is no probability */
    uint8_t reserved[3];   /* 0 */
} ss_result;

uint32_t ss_abi(void);
size_t ss_model_size(void); /* sizeof(ss_model), for callers in other languages */

/* Judge an image. It stays where it is, and is never written. After SS_OK no image can make a
 * function read or write outside of it, of a row, of the scratch memory or of the results. */
int ss_open(ss_model *model, const void *image, size_t bytes);

size_t ss_scratch_size(const ss_model *model); /* bytes that each thread needs */
uint32_t ss_feature_count(const ss_model *model);
uint32_t ss_field_count(const ss_model *model);
uint32_t ss_segment_count(const ss_model *model); /* the event may be NULL if there are none */

/* The number of a text (UTF-8; `true` or `false` for a boolean) among the values that the policy
 * names for a field; another number if it names none such, also if the text is NULL (missing). */
int ss_value(const ss_model *model, uint32_t field, const char *text, size_t bytes);

/* Score one row of ss_feature_count numbers. The event may be NULL if the policy has no segments. */
int ss_decide(const ss_model *model, const double *row, const ss_event *event, void *scratch,
              ss_result *result);

/* Score `count` rows, one after another; events and results are arrays of `count`. */
int ss_decide_rows(const ss_model *model, const double *rows, size_t count, const ss_event *events,
                   void *scratch, ss_result *results);

#ifdef __cplusplus
}
#endif
#endif
