/* Spaces made by PMI_KVS_Create are separate, and end with PMI_KVS_Destroy. */
#include "conform.h"

int main(void)
{
    char own[KVSNAME_ROOM], first[KVSNAME_ROOM], second[KVSNAME_ROOM], value[VALUE_ROOM];
    int spawned;
    NEED(PMI_Init(&spawned) == PMI_SUCCESS);
    NEED(PMI_KVS_Get_my_name(own, KVSNAME_ROOM) == PMI_SUCCESS);

    SHOW(PMI_KVS_Create(first, KVSNAME_ROOM));
    SHOW(PMI_KVS_Create(second, 256));
    printf("names differ: %d\n", strcmp(own, first) && strcmp(own, second) && strcmp(first, second));
    SHOW(PMI_KVS_Create(value, 1));
    SHOW(PMI_KVS_Create(value, 0));
    SHOW(PMI_KVS_Create(value, -1));
    SHOW(PMI_KVS_Create(NULL, KVSNAME_ROOM));

    SHOW(PMI_KVS_Put(first, "key", "of the first"));
    SHOW(PMI_KVS_Put(second, "key", "of the second"));
    SHOW(PMI_KVS_Get(own, "key", value, VALUE_ROOM));
    SHOW(PMI_KVS_Get(first, "key", value, VALUE_ROOM));
    puts(value);
    SHOW(PMI_KVS_Get(second, "key", value, VALUE_ROOM));
    puts(value);
    SHOW(PMI_KVS_Commit(first));
    SHOW(PMI_KVS_Commit(second));
    SHOW(PMI_Barrier());
    SHOW(PMI_KVS_Get(first, "key", value, VALUE_ROOM));
    puts(value);

    SHOW(PMI_KVS_Destroy(first));
    SHOW(PMI_KVS_Get(first, "key", value, VALUE_ROOM));
    SHOW(PMI_KVS_Iter_first(first, value, 100, value + 100, 100));
    SHOW(PMI_KVS_Put(first, "key", "value"));
    SHOW(PMI_KVS_Commit(first));
    SHOW(PMI_KVS_Destroy(first));
    SHOW(PMI_KVS_Get(second, "key", value, VALUE_ROOM));
    SHOW(PMI_KVS_Destroy(NULL));
    SHOW(PMI_KVS_Destroy(""));
    SHOW(PMI_KVS_Destroy("no such kvsname"));
    SHOW(PMI_KVS_Destroy(letters(257)));
    SHOW(PMI_KVS_Destroy(own));
    SHOW(PMI_Finalize());
    return 0;
}
