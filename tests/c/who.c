/* who NAME: each rank tells NAME to the next one, and prints who it is. Ranks of another job would not know it. */
#include "conform.h"

int main(int argc, char *argv[])
{
    char kvsname[KVSNAME_ROOM], key[KEY_ROOM], told[VALUE_ROOM];
    int spawned, rank, size;
    NEED(argc == 2);
    if (PMI_Init(&spawned) != PMI_SUCCESS)
        return 9;
    NEED(PMI_Get_rank(&rank) == PMI_SUCCESS && PMI_Get_size(&size) == PMI_SUCCESS);
    NEED(PMI_KVS_Get_my_name(kvsname, KVSNAME_ROOM) == PMI_SUCCESS);
    snprintf(key, sizeof key, "who-%d", rank);
    snprintf(told, sizeof told, "%s-in-%s", argv[1], kvsname);
    NEED(PMI_KVS_Put(kvsname, key, told) == PMI_SUCCESS && PMI_KVS_Commit(kvsname) == PMI_SUCCESS);
    NEED(PMI_Barrier() == PMI_SUCCESS);
    snprintf(key, sizeof key, "who-%d", (rank + 1) % size);
    NEED(PMI_KVS_Get(kvsname, key, told, VALUE_ROOM) == PMI_SUCCESS);
    printf("rank %d of %d in %s: the next is %s\n", rank, size, kvsname, told);
    return PMI_Finalize() == PMI_SUCCESS ? 0 : 1;
}
