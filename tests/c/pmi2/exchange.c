/* Everybody puts, passes a fence, and has the pairs of all; then replaces them. Only what every implementation can. */
#include "conform2.h"

static char jobid[ID_ROOM];

static void put_mine(int round)
{
    char key[PMI2_MAX_KEYLEN], value[VALUE_ROOM];
    snprintf(key, sizeof key, "round-%d-rank-%d", round, rank);
    snprintf(value, sizeof value, "value-%d-of-rank-%d", round, rank);
    NEED(PMI2_KVS_Put(key, value) == PMI2_SUCCESS);
}

static void check_all(int round)
{
    char key[PMI2_MAX_KEYLEN], value[VALUE_ROOM], expected[VALUE_ROOM];
    for (int other = 0; other < size; other++) {
        int length = 0;
        const char *job = other % 2 ? NULL : jobid;
        snprintf(key, sizeof key, "round-%d-rank-%d", round, other);
        snprintf(expected, sizeof expected, "value-%d-of-rank-%d", round, other);
        NEED(PMI2_KVS_Get(job, other % 3 ? other : PMI2_ID_NULL, key, value, VALUE_ROOM, &length) == PMI2_SUCCESS);
        NEED(strcmp(value, expected) == 0 && length == (int)strlen(expected));
    }
}

/* A buffer that is too short: the beginning, and the length with a minus sign. */
static void check_short(void)
{
    char value[VALUE_ROOM];
    int length = 0;
    memset(value, '#', sizeof value);
    NEED(PMI2_KVS_Get(NULL, 0, "round-1-rank-0", value, 6, &length) == PMI2_SUCCESS);
    NEED(length == -(int)strlen("value-1-of-rank-0"));
    NEED(strncmp(value, "value", 5) == 0 && value[6] == '#');
}

int main(void)
{
    int number;
    char value[VALUE_ROOM];
    join();
    NEED(PMI2_Job_GetId(jobid, ID_ROOM) == PMI2_SUCCESS && jobid[0] != '\0');
    NEED(PMI2_Job_GetRank(&number) == PMI2_SUCCESS && number == rank);
    NEED(PMI2_Info_GetSize(&number) == PMI2_SUCCESS && number == size);
    for (int round = 1; round <= 3; round++) {
        put_mine(round);
        NEED(PMI2_KVS_Fence() == PMI2_SUCCESS);
        check_all(round);
    }
    check_short();
    NEED(PMI2_KVS_Get(NULL, 0, "no-such-key", value, VALUE_ROOM, &number) == PMI2_ERR_OTHER);
    NEED(PMI2_KVS_Fence() == PMI2_SUCCESS);
    NEED(PMI2_Finalize() == PMI2_SUCCESS);
    printf("rank %d of %d: exchanged\n", rank, size);
    return 0;
}
