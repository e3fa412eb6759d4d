/* What every parallel program does with PMI, checked on every rank: all put, commit, wait and get from all; a key
 * is replaced; a space made by one rank serves all.
 *
 * usage: exchange <expected size> [ranks on each node]
 * Without the second number all ranks are on one node; with it, that many neighbours are.
 * Rank 0 prints a line at the end. */
#include "program.h"

static void write_value(char *value, size_t room, const char *what, int of_rank)
{
    snprintf(value, room, "%s of rank %d = %d", what, of_rank, of_rank * of_rank);
}

/* Everyone puts one value and gets those of all ranks. */
static void all_put_all_get(void)
{
    char value[VALUE_ROOM];
    write_value(value, sizeof value, "address", rank);
    put_value(kvsname, "address", value);
    expect_value(kvsname, "address", rank, value);
    commit_and_wait(kvsname);
    for (int other = 0; other < size; other++) {
        write_value(value, sizeof value, "address", other);
        expect_value(kvsname, "address", other, value);
    }
}

/* A missing key fails at once; so does a name that is no space of this job. */
static void missing_things_fail(void)
{
    char value[VALUE_ROOM];
    expect(PMI_KVS_Get(kvsname, "nobody-put-this", value, sizeof value), PMI_ERR_INVALID_KEY);
    if (PMI_KVS_Get("no-such-space", "address-0", value, sizeof value) == PMI_SUCCESS)
        expect_text("found", "an error", "a key of a space that does not exist");
}

/* A later put of a key replaces the earlier one at the next barrier, and not before it. */
static void replace_a_key(void)
{
    char value[VALUE_ROOM];
    int neighbour = (rank + 1) % size;
    write_value(value, sizeof value, "replacement", rank);
    put_value(kvsname, "address", value);
    expect_value(kvsname, "address", rank, value);
    if (neighbour != rank) {
        write_value(value, sizeof value, "address", neighbour);
        expect_value(kvsname, "address", neighbour, value);
    }
    commit_and_wait(kvsname);
    for (int other = 0; other < size; other++) {
        write_value(value, sizeof value, "replacement", other);
        expect_value(kvsname, "address", other, value);
    }
}

/* The longest value, an empty one and one with spaces arrive as they were put. */
static void odd_values(void)
{
    char longest[VALUE_ROOM];
    int length_max, last = size - 1;
    expect(PMI_KVS_Get_value_length_max(&length_max), PMI_SUCCESS);
    expect(length_max >= VALUE_ROOM - 1, 1);
    memset(longest, 'v', VALUE_ROOM - 2);
    longest[VALUE_ROOM - 2] = '\0';
    put_value(kvsname, "longest", longest);
    put_value(kvsname, "empty", "");
    put_value(kvsname, "spaces", " two  spaces ");
    commit_and_wait(kvsname);
    expect_value(kvsname, "longest", last, longest);
    expect_value(kvsname, "empty", last, "");
    expect_value(kvsname, "spaces", last, " two  spaces ");
}

static int count_pairs(const char *space)
{
    char key[KEY_ROOM], value[VALUE_ROOM];
    int count = 0;
    expect(PMI_KVS_Iter_first(space, key, sizeof key, value, sizeof value), PMI_SUCCESS);
    for (; key[0]; count++)
        expect(PMI_KVS_Iter_next(space, key, sizeof key, value, sizeof value), PMI_SUCCESS);
    return count;
}

/* The last rank makes a space and tells the others its name; all use it. */
static void use_a_created_space(void)
{
    char space[NAME_ROOM], value[VALUE_ROOM];
    if (rank == size - 1) {
        expect(PMI_KVS_Create(space, sizeof space), PMI_SUCCESS);
        expect(PMI_KVS_Put(kvsname, "space", space), PMI_SUCCESS);
    }
    commit_and_wait(kvsname);
    expect(PMI_KVS_Get(kvsname, "space", space, sizeof space), PMI_SUCCESS);

    write_value(value, sizeof value, "created", rank);
    put_value(space, "address", value);
    commit_and_wait(space);
    for (int other = 0; other < size; other++) {
        write_value(value, sizeof value, "created", other);
        expect_value(space, "address", other, value);
        write_value(value, sizeof value, "replacement", other);
        expect_value(kvsname, "address", other, value);
    }
    expect(count_pairs(space), size);
    expect(PMI_Barrier(), PMI_SUCCESS);
    if (rank == size - 1)
        expect(PMI_KVS_Destroy(space), PMI_SUCCESS);
}

/* The ranks of this node are each other's clique. */
static void clique_is_the_node(int each)
{
    int count = 0;
    expect(PMI_Get_clique_size(&count), PMI_SUCCESS);
    expect(count, each);
    int *ranks = calloc((size_t)each, sizeof *ranks);
    expect(PMI_Get_clique_ranks(ranks, each), PMI_SUCCESS);
    for (int i = 0; i < each; i++)
        expect(ranks[i], rank / each * each + i);
    free(ranks);
}

int main(int argc, char **argv)
{
    join();
    expect(size, argc > 1 ? atoi(argv[1]) : size);
    all_put_all_get();
    missing_things_fail();
    replace_a_key();
    odd_values();
    use_a_created_space();
    clique_is_the_node(argc > 2 ? atoi(argv[2]) : size);
    for (int i = 0; i < 10; i++)
        expect(PMI_Barrier(), PMI_SUCCESS);
    if (rank == 0)
        printf("exchange: %d ranks, all values right\n", size);
    expect(PMI_Finalize(), PMI_SUCCESS);
    return 0;
}
