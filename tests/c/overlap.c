/* overlap: between the two halves of a split barrier a rank goes on putting and getting; and a split allgather. */
#include "conform.h"

static char kvsname[KVSNAME_ROOM];
static int rank, size;

static void put(const char *name, int round)
{
    char key[KEY_ROOM], value[VALUE_ROOM];
    snprintf(key, sizeof key, "%s-%d-%d", name, round, rank);
    snprintf(value, sizeof value, "of-%d-in-%d", rank, round);
    NEED(PMI_KVS_Put(kvsname, key, value) == PMI_SUCCESS && PMI_KVS_Commit(kvsname) == PMI_SUCCESS);
}

static void check(const char *name, int round, int other)
{
    char key[KEY_ROOM], value[VALUE_ROOM], expected[VALUE_ROOM];
    snprintf(key, sizeof key, "%s-%d-%d", name, round, other);
    snprintf(expected, sizeof expected, "of-%d-in-%d", other, round);
    NEED(PMI_KVS_Get(kvsname, key, value, VALUE_ROOM) == PMI_SUCCESS);
    NEED(strcmp(value, expected) == 0);
}

static void exchange(int round)
{
    char value[VALUE_ROOM];
    PMIX_Request request;
    put("before", round);
    NEED(PMIX_Ibarrier(&request) == PMI_SUCCESS);
    put("during", round);
    check("before", round, rank);
    check("during", round, rank);
    NEED(PMI_KVS_Get(kvsname, "never-put", value, VALUE_ROOM) == PMI_ERR_INVALID_KEY);
    if (round > 0)
        check("during", round - 1, (rank + 1) % size);
    NEED(PMIX_Wait(request) == PMI_SUCCESS);
    for (int other = 0; other < size; other++)
        check("before", round, other);
}

static void gather(int round)
{
    enum { WIDTH = 32 };
    char mine[WIDTH], expected[WIDTH], *all = malloc((size_t)size * WIDTH);
    PMIX_Request request;
    snprintf(mine, WIDTH, "gathered-%d-of-%d", round, rank);
    NEED(all != NULL && PMIX_Iallgather(mine, all, WIDTH, &request) == PMI_SUCCESS);
    NEED(PMIX_Wait(request) == PMI_SUCCESS);
    for (int other = 0; other < size; other++) {
        snprintf(expected, WIDTH, "gathered-%d-of-%d", round, other);
        NEED(strcmp(all + other * WIDTH, expected) == 0);
    }
    free(all);
}

int main(void)
{
    int spawned;
    NEED(PMI_Init(&spawned) == PMI_SUCCESS);
    NEED(PMI_Get_rank(&rank) == PMI_SUCCESS && PMI_Get_size(&size) == PMI_SUCCESS);
    NEED(PMI_KVS_Get_my_name(kvsname, KVSNAME_ROOM) == PMI_SUCCESS);
    for (int round = 0; round < 4; round++)
        exchange(round), gather(round);
    NEED(PMI_Finalize() == PMI_SUCCESS);
    printf("rank %d of %d: overlapped\n", rank, size);
    return 0;
}
