/* Put, replace, get; missing keys, short buffers, limits, wrong arguments. */
#include "conform.h"

static char kvsname[KVSNAME_ROOM], value[VALUE_ROOM];

static void get(const char *key, int length)
{
    memset(value, '#', sizeof value - 1);
    int code = PMI_KVS_Get(kvsname, key, value, length);
    if (code == PMI_SUCCESS)
        printf("get %.20s into %d: %zu bytes '%.20s'\n", key, length, strlen(value), value);
    else
        printf("get %.20s into %d: code %d, buffer %s\n", key, length, code,
               value[0] == '#' ? "untouched" : "written");
}

int main(void)
{
    char *letters_256 = letters(256), *letters_257 = letters(257);
    char *letters_1024 = letters(1024), *letters_1025 = letters(1025);
    int spawned;
    NEED(PMI_Init(&spawned) == PMI_SUCCESS);
    NEED(PMI_KVS_Get_my_name(kvsname, KVSNAME_ROOM) == PMI_SUCCESS);

    puts("== pairs");
    get("key", VALUE_ROOM);
    SHOW(PMI_KVS_Put(kvsname, "key", "value"));
    get("key", VALUE_ROOM);
    SHOW(PMI_KVS_Put(kvsname, "key", "other value"));
    get("key", VALUE_ROOM);
    SHOW(PMI_KVS_Commit(kvsname));
    SHOW(PMI_Barrier());
    get("key", VALUE_ROOM);
    SHOW(PMI_KVS_Put(kvsname, "key", "third"));
    get("key", VALUE_ROOM);
    SHOW(PMI_KVS_Put(kvsname, "empty", ""));
    get("empty", 1);
    SHOW(PMI_KVS_Put(kvsname, "a key with spaces", " ends in a space "));
    get("a key with spaces", VALUE_ROOM);
    SHOW(PMI_KVS_Put(kvsname, "a=b;c", "x=y;cmd=get\nz"));
    get("a=b;c", VALUE_ROOM);
    SHOW(PMI_KVS_Put(kvsname, "bytes", "\x01\x7f\xff\x80"));
    get("bytes", VALUE_ROOM);

    puts("== buffers");
    get("key", 6);
    get("key", 5);
    get("key", 1);
    get("no such key", VALUE_ROOM);
    get("no such key", 0);
    get("no such key", -1);

    puts("== limits");
    SHOW(PMI_KVS_Put(kvsname, letters_256, "v"));
    get(letters_256, VALUE_ROOM);
    SHOW(PMI_KVS_Put(kvsname, letters_257, "v"));
    SHOW(PMI_KVS_Get(kvsname, letters_257, value, VALUE_ROOM));
    SHOW(PMI_KVS_Put(kvsname, "long", letters_1024));
    get("long", 1025);
    get("long", 1024);
    SHOW(PMI_KVS_Put(kvsname, "long", letters_1025));
    SHOW(PMI_KVS_Put(letters_256, "key", "value"));
    SHOW(PMI_KVS_Put(letters_257, "key", "value"));
    SHOW(PMI_KVS_Get(letters_257, "key", value, VALUE_ROOM));
    SHOW(PMI_KVS_Commit(letters_257));

    puts("== arguments");
    SHOW(PMI_KVS_Put(NULL, "key", "value"));
    SHOW(PMI_KVS_Put(kvsname, NULL, "value"));
    SHOW(PMI_KVS_Put(kvsname, "key", NULL));
    SHOW(PMI_KVS_Put("no such kvsname", "key", "value"));
    SHOW(PMI_KVS_Put("", "key", "value"));
    SHOW(PMI_KVS_Put(kvsname, "", "value"));
    SHOW(PMI_KVS_Get(NULL, "key", value, VALUE_ROOM));
    SHOW(PMI_KVS_Get(kvsname, NULL, value, VALUE_ROOM));
    SHOW(PMI_KVS_Get(kvsname, "key", NULL, VALUE_ROOM));
    SHOW(PMI_KVS_Get(NULL, NULL, NULL, 0));
    SHOW(PMI_KVS_Get("no such kvsname", "key", value, VALUE_ROOM));
    SHOW(PMI_KVS_Commit(NULL));
    SHOW(PMI_KVS_Commit("no such kvsname"));
    SHOW(PMI_Finalize());
    return 0;
}
