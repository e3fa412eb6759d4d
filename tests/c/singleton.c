/* A process outside any job is rank 0 of 1, alone on its node. */
#include "conform.h"

int main(void)
{
    char id[KVSNAME_ROOM], kvsname[KVSNAME_ROOM];
    int number = -1, ranks[3] = {-1, -1, -1};

    SHOW(PMI_Init(&number));
    printf("spawned %d\n", number);
    SHOW(PMI_Get_rank(&number));
    printf("rank %d\n", number);
    SHOW(PMI_Get_size(&number));
    printf("size %d\n", number);
    SHOW(PMI_Get_universe_size(&number));
    printf("universe size %d\n", number);
    SHOW(PMI_Get_appnum(&number));
    printf("appnum %d\n", number);
    SHOW(PMI_Get_clique_size(&number));
    printf("clique size %d\n", number);
    SHOW(PMI_Get_clique_ranks(ranks, 3));
    printf("clique %d %d %d\n", ranks[0], ranks[1], ranks[2]);
    SHOW(PMI_Get_clique_ranks(ranks, 1));
    SHOW(PMI_Get_clique_ranks(ranks, 0));
    SHOW(PMI_Get_clique_ranks(ranks, -1));
    SHOW(PMI_Get_clique_ranks(NULL, 3));
    SHOW(PMI_KVS_Get_my_name(kvsname, KVSNAME_ROOM));
    SHOW(PMI_KVS_Get_my_name(kvsname, (int)strlen(kvsname) + 1));
    SHOW(PMI_KVS_Get_my_name(id, (int)strlen(kvsname)));
    SHOW(PMI_KVS_Get_my_name(id, 1));
    SHOW(PMI_KVS_Get_my_name(id, 0));
    SHOW(PMI_KVS_Get_my_name(id, -1));
    SHOW(PMI_KVS_Get_my_name(NULL, KVSNAME_ROOM));
    SHOW(PMI_Get_id(id, KVSNAME_ROOM));
    printf("id is the kvsname: %d\n", strcmp(id, kvsname) == 0);
    SHOW(PMI_Get_kvs_domain_id(id, KVSNAME_ROOM));
    printf("domain id is the kvsname: %d\n", strcmp(id, kvsname) == 0);
    SHOW(PMI_Get_id(id, 2));
    SHOW(PMI_Get_id(id, 0));
    SHOW(PMI_Get_id(NULL, KVSNAME_ROOM));
    SHOW(PMI_Barrier());
    SHOW(PMI_KVS_Commit(kvsname));
    SHOW(PMI_Barrier());
    SHOW(PMI_Finalize());

    /* Anew: another membership, with nothing left of the first. */
    SHOW(PMI_Init(&number));
    SHOW(PMI_KVS_Get_my_name(kvsname, KVSNAME_ROOM));
    SHOW(PMI_KVS_Put(kvsname, "key", "value"));
    SHOW(PMI_Barrier());
    SHOW(PMI_Finalize());
    return 0;
}
