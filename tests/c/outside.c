/* Every call before PMI_Init and after PMI_Finalize; initialising twice, finalising twice, and anew. */
#include "conform.h"

static char text[VALUE_ROOM], key[KEY_ROOM];
static int number, ranks[4];

static void every_call(const char *kvsname)
{
    SHOW(PMI_Initialized(&number));
    printf("initialized %d\n", number);
    SHOW(PMI_Initialized(NULL));
    SHOW(PMI_Get_size(&number));
    SHOW(PMI_Get_size(NULL));
    SHOW(PMI_Get_rank(&number));
    SHOW(PMI_Get_rank(NULL));
    SHOW(PMI_Get_universe_size(&number));
    SHOW(PMI_Get_universe_size(NULL));
    SHOW(PMI_Get_appnum(&number));
    SHOW(PMI_Get_appnum(NULL));
    SHOW(PMI_Get_id(text, KVSNAME_ROOM));
    SHOW(PMI_Get_id(NULL, KVSNAME_ROOM));
    SHOW(PMI_Get_id(text, 0));
    SHOW(PMI_Get_id(text, -1));
    SHOW(PMI_Get_kvs_domain_id(text, KVSNAME_ROOM));
    SHOW(PMI_Get_kvs_domain_id(NULL, KVSNAME_ROOM));
    SHOW(PMI_Get_id_length_max(NULL));
    SHOW(PMI_Barrier());
    SHOW(PMI_Get_clique_size(&number));
    SHOW(PMI_Get_clique_size(NULL));
    SHOW(PMI_Get_clique_ranks(ranks, 4));
    SHOW(PMI_Get_clique_ranks(NULL, 4));
    SHOW(PMI_KVS_Get_my_name(text, KVSNAME_ROOM));
    SHOW(PMI_KVS_Get_my_name(NULL, KVSNAME_ROOM));
    SHOW(PMI_KVS_Create(text, KVSNAME_ROOM));
    SHOW(PMI_KVS_Create(NULL, KVSNAME_ROOM));
    SHOW(PMI_KVS_Destroy(kvsname));
    SHOW(PMI_KVS_Destroy(NULL));
    SHOW(PMI_KVS_Put(kvsname, "key", "value"));
    SHOW(PMI_KVS_Put(NULL, "key", "value"));
    SHOW(PMI_KVS_Put(kvsname, NULL, "value"));
    SHOW(PMI_KVS_Put(kvsname, "key", NULL));
    SHOW(PMI_KVS_Commit(kvsname));
    SHOW(PMI_KVS_Commit(NULL));
    SHOW(PMI_KVS_Get(kvsname, "key", text, VALUE_ROOM));
    SHOW(PMI_KVS_Get(NULL, "key", text, VALUE_ROOM));
    SHOW(PMI_KVS_Get(kvsname, NULL, text, VALUE_ROOM));
    SHOW(PMI_KVS_Get(kvsname, "key", NULL, VALUE_ROOM));
    SHOW(PMI_KVS_Iter_first(kvsname, key, KEY_ROOM, text, VALUE_ROOM));
    SHOW(PMI_KVS_Iter_next(kvsname, key, KEY_ROOM, text, VALUE_ROOM));
    SHOW(PMI_Publish_name("service", "port"));
    SHOW(PMI_Publish_name(NULL, "port"));
    SHOW(PMI_Publish_name("service", NULL));
    SHOW(PMI_Unpublish_name("service"));
    SHOW(PMI_Unpublish_name(NULL));
    SHOW(PMI_Lookup_name("service", text));
    SHOW(PMI_Lookup_name(NULL, text));
    SHOW(PMI_Lookup_name("service", NULL));
}

int main(void)
{
    char kvsname[KVSNAME_ROOM];
    int spawned = -1;

    puts("== before");
    every_call("1.1");
    SHOW(PMI_Finalize());
    SHOW(PMI_Init(NULL));
    SHOW(PMI_Initialized(&number));
    printf("initialized %d\n", number);

    puts("== inside");
    SHOW(PMI_Init(&spawned));
    printf("spawned %d\n", spawned);
    spawned = -1;
    SHOW(PMI_Init(&spawned));
    printf("spawned %d\n", spawned);
    SHOW(PMI_Initialized(&number));
    printf("initialized %d\n", number);
    SHOW(PMI_KVS_Get_my_name(kvsname, KVSNAME_ROOM));

    puts("== after");
    SHOW(PMI_Finalize());
    every_call(kvsname);
    SHOW(PMI_Finalize());
    return 0;
}
