/* Iteration: every pair once, the end as an empty key. */
#include "conform.h"

static char kvsname[KVSNAME_ROOM], key[KEY_ROOM], value[VALUE_ROOM];

/* Prints the pairs in the order of their keys, for no order is promised. */
static void whole_space(void)
{
    char lines[8][KEY_ROOM];
    int count = 0;
    int code = PMI_KVS_Iter_first(kvsname, key, KEY_ROOM, value, VALUE_ROOM);
    while (code == PMI_SUCCESS && key[0] != '\0') {
        NEED(count < 8);
        snprintf(lines[count++], KEY_ROOM, "  %.100s = %.100s", key, value);
        code = PMI_KVS_Iter_next(kvsname, key, KEY_ROOM, value, VALUE_ROOM);
    }
    printf("%d pairs, then code %d, key '%s', value '%s'\n", count, code, key, value);
    qsort(lines, (size_t)count, KEY_ROOM, (int (*)(const void *, const void *))strcmp);
    for (int line = 0; line < count; line++)
        puts(lines[line]);
}

int main(void)
{
    int spawned;
    NEED(PMI_Init(&spawned) == PMI_SUCCESS);
    /* A space of our own: the group's may hold pairs of the launcher's. */
    NEED(PMI_KVS_Create(kvsname, KVSNAME_ROOM) == PMI_SUCCESS);

    whole_space();
    SHOW(PMI_KVS_Put(kvsname, "b", "2"));
    SHOW(PMI_KVS_Put(kvsname, "a", "1"));
    whole_space();
    SHOW(PMI_KVS_Put(kvsname, "c", ""));
    SHOW(PMI_KVS_Commit(kvsname));
    SHOW(PMI_Barrier());
    whole_space();
    SHOW(PMI_KVS_Iter_next(kvsname, key, KEY_ROOM, value, VALUE_ROOM));
    printf("past the end: key '%s'\n", key);

    SHOW(PMI_KVS_Iter_first(NULL, key, KEY_ROOM, value, VALUE_ROOM));
    SHOW(PMI_KVS_Iter_first(kvsname, NULL, KEY_ROOM, value, VALUE_ROOM));
    SHOW(PMI_KVS_Iter_first(kvsname, key, KEY_ROOM, NULL, VALUE_ROOM));
    SHOW(PMI_KVS_Iter_first("no such kvsname", key, KEY_ROOM, value, VALUE_ROOM));
    SHOW(PMI_KVS_Iter_first(letters(257), key, KEY_ROOM, value, VALUE_ROOM));
    SHOW(PMI_KVS_Iter_next("no such kvsname", key, KEY_ROOM, value, VALUE_ROOM));
    SHOW(PMI_KVS_Iter_next(kvsname, NULL, KEY_ROOM, value, VALUE_ROOM));
    SHOW(PMI_KVS_Iter_next(kvsname, key, KEY_ROOM, NULL, VALUE_ROOM));
    SHOW(PMI_Finalize());
    return 0;
}
