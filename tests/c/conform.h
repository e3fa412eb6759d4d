/* What the conformance programs share. Each prints one line per call; the same program runs with Slurm's libpmi
 * and with ours, and the lines are compared. Names that differ from run to run are not printed. */
#ifndef CONFORM_H
#define CONFORM_H

#include <pmi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KVSNAME_ROOM 300
#define KEY_ROOM 300
#define VALUE_ROOM 1100

/* Prints the call as it stands in the source, and its return code. */
#define SHOW(call) show(#call, (call))

static inline int show(const char *call, int code)
{
    static const char *const names[] = {
        "PMI_SUCCESS",            "PMI_ERR_INIT",
        "PMI_ERR_NOMEM",          "PMI_ERR_INVALID_ARG",
        "PMI_ERR_INVALID_KEY",    "PMI_ERR_INVALID_KEY_LENGTH",
        "PMI_ERR_INVALID_VAL",    "PMI_ERR_INVALID_VAL_LENGTH",
        "PMI_ERR_INVALID_LENGTH", "PMI_ERR_INVALID_NUM_ARGS",
        "PMI_ERR_INVALID_ARGS",   "PMI_ERR_INVALID_NUM_PARSED",
        "PMI_ERR_INVALID_KEYVALP", "PMI_ERR_INVALID_SIZE",
        "PMI_ERR_INVALID_KVS",
    };
    if (code == PMI_FAIL)
        printf("%s: PMI_FAIL\n", call);
    else if (code >= 0 && code < (int)(sizeof names / sizeof names[0]))
        printf("%s: %s\n", call, names[code]);
    else
        printf("%s: code %d\n", call, code);
    fflush(stdout);
    return code;
}

/* Ends the program unless the condition holds. */
#define NEED(condition)                                                                    \
    do {                                                                                   \
        if (!(condition)) {                                                                \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);        \
            exit(99);                                                                      \
        }                                                                                  \
    } while (0)

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
