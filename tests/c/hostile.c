/* Arguments under which Slurm's libpmi crashes or writes beyond the buffer: ours must return a code. */
#include "conform.h"

int main(void)
{
    char kvsname[KVSNAME_ROOM], key[8] = "#######", value[8] = "#######", text[8] = "#######";
    char *one[] = {"PMI_a=b", NULL}, *hole[] = {"prog", NULL, "-a"};
    PMI_keyval_t *pairs, pair;
    int spawned, size, parsed, count = -1, length = 0;
    NEED(PMI_Init(&spawned) == PMI_SUCCESS);
    NEED(PMI_KVS_Create(kvsname, KVSNAME_ROOM) == PMI_SUCCESS);
    NEED(PMI_KVS_Put(kvsname, "key", "value") == PMI_SUCCESS);

    SHOW(PMI_KVS_Get(kvsname, "key", value, 0));
    SHOW(PMI_KVS_Get(kvsname, "key", value, -1));
    SHOW(PMI_KVS_Get(kvsname, "key", value, -2147483647 - 1));
    SHOW(PMI_KVS_Iter_first(kvsname, key, 3, value, 8));
    SHOW(PMI_KVS_Iter_first(kvsname, key, 8, value, 5));
    SHOW(PMI_KVS_Iter_first(kvsname, key, 0, value, 0));
    SHOW(PMI_KVS_Iter_first(kvsname, key, -1, value, -1));
    printf("untouched: %d\n", !strcmp(key, "#######") && !strcmp(value, "#######"));
    SHOW(PMI_KVS_Iter_next(kvsname, key, 4, value, 6));
    printf("%s = %s\n", key, value);
    SHOW(PMI_KVS_Iter_next(kvsname, key, 0, value, 8));
    SHOW(PMI_KVS_Iter_next(kvsname, key, 1, value, 1));
    printf("end: '%s'\n", key);

    SHOW(PMI_Parse_option(-1, one, &parsed, &pairs, &size));
    SHOW(PMI_Parse_option(1, NULL, &parsed, &pairs, &size));
    SHOW(PMI_Parse_option(3, hole, &parsed, &pairs, &size));
    SHOW(PMI_Args_to_keyval(&count, (char *(*)[])one, &pairs, &size));
    count = 3;
    SHOW(PMI_Args_to_keyval(&count, (char *(*)[])hole, &pairs, &size));
    SHOW(PMI_Free_keyvals(&pair, -1));
    SHOW(PMI_Get_options(text, &length));
    length = -1;
    SHOW(PMI_Get_options(text, &length));
    printf("untouched: %d\n", !strcmp(text, "#######"));

    const char *hole_commands[] = {"/bin/true", NULL};
    int processes[] = {1, 1}, none[] = {0, 1};
    SHOW(PMI_Spawn_multiple(2, hole_commands, NULL, processes, none, NULL, 0, NULL, NULL));
    SHOW(PMI_Spawn_multiple(1, hole_commands, NULL, none, none, NULL, 0, NULL, NULL));
    SHOW(PMI_Spawn_multiple(1, hole_commands, NULL, processes, processes, NULL, 0, NULL, NULL));
    SHOW(PMI_Spawn_multiple(1, hole_commands, NULL, processes, NULL, NULL, -1, NULL, NULL));
    SHOW(PMI_Finalize());
    return 0;
}
