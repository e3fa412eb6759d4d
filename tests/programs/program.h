/* What the test programs share: joining the job, and ending with a message when a call does not return what it
 * should. */
#ifndef TEST_PROGRAM_H
#define TEST_PROGRAM_H

#include <pmi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_ROOM = 257, KEY_ROOM = 64, VALUE_ROOM = 1025 };

static int rank, size;
static char kvsname[NAME_ROOM];

/* Ends the process with exit code 1 unless `code` is `wanted`. */
#define expect(code, wanted) expect_code((code), (wanted), #code, __LINE__)

static inline void expect_code(int code, int wanted, const char *call, int line)
{
    if (code == wanted)
        return;
    fprintf(stderr, "rank %d, line %d: %s returned %d, not %d\n", rank, line, call, code, wanted);
    exit(1);
}

/* Ends the process with exit code 1 unless the texts are equal. */
static inline void expect_text(const char *found, const char *wanted, const char *key)
{
    if (!strcmp(found, wanted))
        return;
    fprintf(stderr, "rank %d: %s is '%.80s', not '%.80s'\n", rank, key, found, wanted);
    exit(1);
}

static inline void join(void)
{
    int spawned = 1;
    expect(PMI_Init(&spawned), PMI_SUCCESS);
    expect(spawned, 0);
    expect(PMI_Get_rank(&rank), PMI_SUCCESS);
    expect(PMI_Get_size(&size), PMI_SUCCESS);
    expect(PMI_KVS_Get_my_name(kvsname, sizeof kvsname), PMI_SUCCESS);
}

static inline void commit_and_wait(const char *space)
{
    expect(PMI_KVS_Commit(space), PMI_SUCCESS);
    expect(PMI_Barrier(), PMI_SUCCESS);
}

/* The value of a key of the form <name>-<rank>. */
static inline void expect_value(const char *space, const char *name, int of_rank, const char *wanted)
{
    char key[KEY_ROOM], value[VALUE_ROOM];
    snprintf(key, sizeof key, "%s-%d", name, of_rank);
    expect(PMI_KVS_Get(space, key, value, sizeof value), PMI_SUCCESS);
    expect_text(value, wanted, key);
}

static inline void put_value(const char *space, const char *name, const char *value)
{
    char key[KEY_ROOM];
    snprintf(key, sizeof key, "%s-%d", name, rank);
    expect(PMI_KVS_Put(space, key, value), PMI_SUCCESS);
}

#endif
