/* carried: rank 0 puts pairs with every byte, and of many lengths; rank 1 reads them. Rank 0 prints which puts were
 * taken, rank 1 what came of them: what is taken must arrive as it is. */
#include "conform.h"

/* As long as any server's longest value, with its NUL and some more. */
#define LONGEST 6000

static char kvsname[KVSNAME_ROOM];
static int rank;

static void report(const char *name, int number, const char *outcome)
{
    printf("%s %d %s\n", name, number, outcome);
    fflush(stdout);
}

/* Rank 0 puts, all ranks but the first look. */
static void carry(int putting, const char *name, int number, const char *key, const char *value)
{
    static char found[LONGEST];
    if (putting && rank == 0)
        report(name, number, PMI_KVS_Put(kvsname, key, value) == PMI_SUCCESS ? "taken" : "refused");
    if (putting || rank == 0)
        return;
    int code = PMI_KVS_Get(kvsname, key, found, sizeof found);
    if (code != PMI_SUCCESS)
        report(name, number, code == PMI_ERR_INVALID_KEY ? "missing" : "failed");
    else
        report(name, number, strcmp(found, value) == 0 ? "same" : "different");
}

static void carry_bytes(int putting)
{
    char key[KEY_ROOM], value[KEY_ROOM];
    for (int byte = 1; byte < 256; byte++) {
        snprintf(key, sizeof key, "first-%d", byte);
        snprintf(value, sizeof value, "%c%d", byte, byte);
        carry(putting, "first", byte, key, value);
        snprintf(key, sizeof key, "within-%d", byte);
        snprintf(value, sizeof value, "v%cw%d", byte, byte);
        carry(putting, "within", byte, key, value);
        snprintf(key, sizeof key, "last-%d", byte);
        snprintf(value, sizeof value, "%d%c", byte, byte);
        carry(putting, "last", byte, key, value);
        snprintf(key, sizeof key, "k%c%d", byte, byte);
        snprintf(value, sizeof value, "of-key-%d", byte);
        carry(putting, "key", byte, key, value);
    }
}

static void carry_lengths(int putting)
{
    static const int values[] = {0, 1, 511, 512, 900, 960, 1000, 1022, 1023, 1024, 4094, 4095, 4096};
    static const int keys[] = {1, 62, 63, 64, 65, 254, 255, 256};
    char key[KEY_ROOM], value[KEY_ROOM];
    for (size_t index = 0; index < sizeof values / sizeof *values; index++) {
        char *long_value = letters((size_t)values[index]);
        snprintf(key, sizeof key, "length-%d", values[index]);
        carry(putting, "value-length", values[index], key, long_value);
        free(long_value);
    }
    for (size_t index = 0; index < sizeof keys / sizeof *keys; index++) {
        char *long_key = letters((size_t)keys[index]);
        snprintf(value, sizeof value, "of-length-%d", keys[index]);
        carry(putting, "key-length", keys[index], long_key, value);
        free(long_key);
    }
}

int main(void)
{
    int spawned;
    NEED(PMI_Init(&spawned) == PMI_SUCCESS);
    NEED(PMI_Get_rank(&rank) == PMI_SUCCESS);
    NEED(PMI_KVS_Get_my_name(kvsname, KVSNAME_ROOM) == PMI_SUCCESS);
    for (int putting = 1; putting >= 0; putting--) {
        carry_bytes(putting);
        carry_lengths(putting);
        NEED(PMI_KVS_Commit(kvsname) == PMI_SUCCESS && PMI_Barrier() == PMI_SUCCESS);
    }
    NEED(PMI_Finalize() == PMI_SUCCESS);
    return 0;
}
