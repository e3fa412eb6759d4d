/* exchange [plain]: several ranks; everybody puts, commits, and after the barrier has the pairs of all; then replaces
 * them. Plain: without spaces and empty values, which other servers cut. */
#include "conform.h"

static char kvsname[KVSNAME_ROOM];
static int rank, size, plain;

static void value_of(int round, int of, char value[VALUE_ROOM])
{
    const char *format = plain ? "round-%d-of-rank-%d" : "round %d of rank %d, ends in a space ";
    snprintf(value, VALUE_ROOM, format, round, of);
}

static void put_mine(int round)
{
    char key[KEY_ROOM], value[VALUE_ROOM], found[VALUE_ROOM];
    snprintf(key, sizeof key, "rank-%d", rank);
    value_of(round, rank, value);
    NEED(PMI_KVS_Put(kvsname, key, value) == PMI_SUCCESS);
    NEED(PMI_KVS_Get(kvsname, key, found, VALUE_ROOM) == PMI_SUCCESS && strcmp(found, value) == 0);
    if (rank == 0 && !plain)
        NEED(PMI_KVS_Put(kvsname, "empty", "") == PMI_SUCCESS);
}

static void check_all(int round)
{
    char key[KEY_ROOM], value[VALUE_ROOM], expected[VALUE_ROOM];
    for (int other = 0; other < size; other++) {
        snprintf(key, sizeof key, "rank-%d", other);
        value_of(round, other, expected);
        NEED(PMI_KVS_Get(kvsname, key, value, VALUE_ROOM) == PMI_SUCCESS);
        NEED(strcmp(value, expected) == 0);
    }
    NEED(plain || (PMI_KVS_Get(kvsname, "empty", value, 1) == PMI_SUCCESS && value[0] == '\0'));
    NEED(PMI_KVS_Get(kvsname, "no such key", value, VALUE_ROOM) == PMI_ERR_INVALID_KEY);
}

static void exchange(int round)
{
    put_mine(round);
    NEED(PMI_KVS_Commit(kvsname) == PMI_SUCCESS);
    NEED(PMI_Barrier() == PMI_SUCCESS);
    check_all(round);
    NEED(PMI_Barrier() == PMI_SUCCESS);
}

/* The clique is ascending, has the announced size, and this rank is in it. */
static void check_clique(void)
{
    int count, found = 0;
    NEED(PMI_Get_clique_size(&count) == PMI_SUCCESS && count >= 1 && count <= size);
    int *ranks = calloc((size_t)count, sizeof *ranks);
    NEED(ranks != NULL && PMI_Get_clique_ranks(ranks, count) == PMI_SUCCESS);
    for (int index = 0; index < count; index++) {
        NEED(index == 0 || ranks[index] > ranks[index - 1]);
        found |= ranks[index] == rank;
    }
    NEED(found);
    NEED(PMI_Get_clique_ranks(ranks, count - 1) == PMI_ERR_INVALID_LENGTH);
    free(ranks);
}

int main(int argc, char *argv[])
{
    int spawned;
    plain = argc > 1 && strcmp(argv[1], "plain") == 0;
    NEED(PMI_Init(&spawned) == PMI_SUCCESS && spawned == PMI_FALSE);
    NEED(PMI_Get_rank(&rank) == PMI_SUCCESS && PMI_Get_size(&size) == PMI_SUCCESS);
    NEED(rank >= 0 && rank < size);
    NEED(PMI_KVS_Get_my_name(kvsname, KVSNAME_ROOM) == PMI_SUCCESS);
    check_clique();
    for (int round = 1; round <= 3; round++)
        exchange(round);
    NEED(PMI_Finalize() == PMI_SUCCESS);
    printf("rank %d of %d: exchanged\n", rank, size);
    return 0;
}
