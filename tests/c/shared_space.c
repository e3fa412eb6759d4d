/* Several ranks: a space made by rank 0 and named to the others is usable by all, and ends for all. */
#include "conform.h"

static char own[KVSNAME_ROOM], space[KVSNAME_ROOM], key[KEY_ROOM], value[VALUE_ROOM];
static int rank, size;

static void meet(const char *kvsname)
{
    NEED(PMI_KVS_Commit(kvsname) == PMI_SUCCESS);
    NEED(PMI_Barrier() == PMI_SUCCESS);
}

static void tell_everybody(void)
{
    if (rank == 0) {
        NEED(PMI_KVS_Create(space, KVSNAME_ROOM) == PMI_SUCCESS);
        NEED(PMI_KVS_Put(own, "space", space) == PMI_SUCCESS);
    }
    meet(own);
    NEED(PMI_KVS_Get(own, "space", space, KVSNAME_ROOM) == PMI_SUCCESS);
}

static int count_pairs(void)
{
    int pairs = 0;
    NEED(PMI_KVS_Iter_first(space, key, KEY_ROOM, value, VALUE_ROOM) == PMI_SUCCESS);
    for (; key[0] != '\0'; pairs++)
        NEED(PMI_KVS_Iter_next(space, key, KEY_ROOM, value, VALUE_ROOM) == PMI_SUCCESS);
    return pairs;
}

int main(void)
{
    int spawned;
    NEED(PMI_Init(&spawned) == PMI_SUCCESS);
    NEED(PMI_Get_rank(&rank) == PMI_SUCCESS && PMI_Get_size(&size) == PMI_SUCCESS);
    NEED(PMI_KVS_Get_my_name(own, KVSNAME_ROOM) == PMI_SUCCESS);
    tell_everybody();

    snprintf(key, sizeof key, "rank-%d", rank);
    NEED(PMI_KVS_Put(space, key, "here") == PMI_SUCCESS);
    meet(space);
    for (int other = 0; other < size; other++) {
        snprintf(key, sizeof key, "rank-%d", other);
        NEED(PMI_KVS_Get(space, key, value, VALUE_ROOM) == PMI_SUCCESS);
        NEED(PMI_KVS_Get(own, key, value, VALUE_ROOM) == PMI_ERR_INVALID_KEY);
    }
    NEED(count_pairs() == size);

    NEED(PMI_Barrier() == PMI_SUCCESS);
    if (rank == 0)
        NEED(PMI_KVS_Destroy(space) == PMI_SUCCESS);
    meet(own);
    NEED(PMI_KVS_Get(space, "rank-0", value, VALUE_ROOM) == PMI_ERR_INVALID_KVS);
    NEED(PMI_Finalize() == PMI_SUCCESS);
    printf("rank %d of %d: shared\n", rank, size);
    return 0;
}
