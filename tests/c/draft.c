/* The four names of the draft paper that Slurm's pmi.h does not have. */
#include "conform.h"

int main(void)
{
    char kvsname[KVSNAME_ROOM], key[256], value[1024], spawned_kvsname[256];
    const char *arguments[] = {"-x", NULL};
    char *words[] = {"prog", "PMI_a=b", NULL}, **argv = words;
    int spawned, argc = 2, pairs = 0;

    SHOW(PMI_KVS_iter_first("1.1", key, value));
    NEED(PMI_Init(&spawned) == PMI_SUCCESS);
    NEED(PMI_KVS_Create(kvsname, KVSNAME_ROOM) == PMI_SUCCESS);
    NEED(PMI_KVS_Put(kvsname, "a", "1") == PMI_SUCCESS);
    NEED(PMI_KVS_Put(kvsname, "b", "2") == PMI_SUCCESS);
    SHOW(PMI_KVS_iter_next(kvsname, key, value));
    SHOW(PMI_KVS_iter_first(kvsname, key, value));
    while (key[0] != '\0') {
        pairs++;
        NEED(PMI_KVS_iter_next(kvsname, key, value) == PMI_SUCCESS);
    }
    printf("%d pairs\n", pairs);
    SHOW(PMI_KVS_iter_first(NULL, key, value));
    SHOW(PMI_KVS_iter_first(kvsname, NULL, value));
    SHOW(PMI_KVS_iter_first(kvsname, key, NULL));
    SHOW(PMI_KVS_iter_next("no such kvsname", key, value));

    /* A pair that fills the announced maxima leaves no room for the NUL: an error, not an overflow. */
    NEED(PMI_KVS_Destroy(kvsname) == PMI_SUCCESS);
    NEED(PMI_KVS_Create(kvsname, KVSNAME_ROOM) == PMI_SUCCESS);
    NEED(PMI_KVS_Put(kvsname, "long", letters(1024)) == PMI_SUCCESS);
    SHOW(PMI_KVS_iter_first(kvsname, key, value));

    SHOW(PMI_Spawn("/bin/true", arguments, 1, spawned_kvsname, 256));
    SHOW(PMI_Spawn("/bin/true", NULL, 0, spawned_kvsname, 256));
    SHOW(PMI_Spawn(NULL, arguments, 1, spawned_kvsname, 256));
    SHOW(PMI_Spawn("/bin/true", arguments, 1, NULL, 256));
    SHOW(PMI_Args_to_info(&argc, &argv, NULL));
    printf("argc %d, argv %s %s\n", argc, argv[0], argv[1]);
    SHOW(PMI_Args_to_info(NULL, &argv, NULL));
    SHOW(PMI_Args_to_info(&argc, NULL, NULL));
    argc = -1;
    SHOW(PMI_Args_to_info(&argc, &argv, NULL));
    SHOW(PMI_Finalize());
    return 0;
}
