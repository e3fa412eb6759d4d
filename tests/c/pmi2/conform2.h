/* What the conformance programs of PMI-2 share. Each prints lines that are the same under every implementation, or
 * whose differences the tests state. Names and ids that differ from run to run are not printed. */
#ifndef CONFORM2_H
#define CONFORM2_H

#include <pmi2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_ROOM 300
#define VALUE_ROOM 1100

static int rank, size;

static inline const char *name_of(int code)
{
    static const char *const names[] = {
        "PMI2_SUCCESS",            "PMI2_ERR_INIT",
        "PMI2_ERR_NOMEM",          "PMI2_ERR_INVALID_ARG",
        "PMI2_ERR_INVALID_KEY",    "PMI2_ERR_INVALID_KEY_LENGTH",
        "PMI2_ERR_INVALID_VAL",    "PMI2_ERR_INVALID_VAL_LENGTH",
        "PMI2_ERR_INVALID_LENGTH", "PMI2_ERR_INVALID_NUM_ARGS",
        "PMI2_ERR_INVALID_ARGS",   "PMI2_ERR_INVALID_NUM_PARSED",
        "PMI2_ERR_INVALID_KEYVALP", "PMI2_ERR_INVALID_SIZE",
        "PMI2_ERR_OTHER",
    };
    if (code == PMI2_FAIL)
        return "PMI2_FAIL";
    return code >= 0 && code < (int)(sizeof names / sizeof names[0]) ? names[code] : "another code";
}

/* Prints the call as it stands in the source, and its return code. */
#define SHOW(call) show(#call, (call))

static inline int show(const char *call, int code)
{
    printf("%s: %s\n", call, name_of(code));
    fflush(stdout);
    return code;
}

/* Ends the program unless the condition holds. */
#define NEED(condition)                                                                    \
    do {                                                                                   \
        if (!(condition)) {                                                                \
            fprintf(stderr, "rank %d, %s:%d: not so: %s\n", rank, __FILE__, __LINE__, #condition); \
            exit(99);                                                                      \
        }                                                                                  \
    } while (0)

static inline void join(void)
{
    int spawned, appnum;
    NEED(PMI2_Init(&spawned, &size, &rank, &appnum) == PMI2_SUCCESS);
    NEED(spawned == 0 && size >= 1 && rank >= 0 && rank < size);
}

/* A string of a repeated letter, in memory that lives as long as the program. */
static inline char *letters(size_t length)
{
    char *string = malloc(length + 1);
    NEED(string != NULL);
    memset(string, 'x', length);
    string[length] = '\0';
    return string;
}

#endif
