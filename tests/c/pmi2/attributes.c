/* Attributes of the node: the last of its ranks puts what the others wait for, and all look at what each has put.
 * Attributes of the job. Only what every implementation can, but for the predefined names: "-all" tests them too. */
#define _POSIX_C_SOURCE 200809L
#include "conform2.h"
#include <time.h>

/* The ranks of this node, from the mapping's only form that the tests use: (vector,(0,nodes,each)). */
static int node_of(int of_rank, int each)
{
    return of_rank / each;
}

static int mapped_each(void)
{
    char mapping[VALUE_ROOM];
    int found = 0, first, nodes, each;
    NEED(PMI2_Info_GetJobAttr("PMI_process_mapping", mapping, VALUE_ROOM, &found) == PMI2_SUCCESS && found);
    NEED(sscanf(mapping, "(vector,(%d,%d,%d))", &first, &nodes, &each) == 3 && first == 0);
    return each;
}

static void pause_a_moment(void)
{
    struct timespec moment = {0, 50000000};
    nanosleep(&moment, NULL);
}

/* Every rank puts one attribute and waits for those of its node, the first rank late. */
static void share(int each)
{
    char name[PMI2_MAX_KEYLEN], value[PMI2_MAX_ATTRVALUE], expected[64];
    int found;
    snprintf(name, sizeof name, "-bcast-1-%d", rank);
    snprintf(value, sizeof value, "segment-of-%d", rank);
    if (rank % each == 0)
        pause_a_moment();
    NEED(PMI2_Info_PutNodeAttr(name, value) == PMI2_SUCCESS);
    for (int other = 0; other < size; other++) {
        if (node_of(other, each) != node_of(rank, each))
            continue;
        snprintf(name, sizeof name, "-bcast-1-%d", other);
        snprintf(expected, sizeof expected, "segment-of-%d", other);
        found = 0;
        NEED(PMI2_Info_GetNodeAttr(name, value, (int)sizeof value, &found, 1) == PMI2_SUCCESS);
        NEED(found && strcmp(value, expected) == 0);
    }
}

/* After a fence everybody has put; those of other nodes still cannot be seen. */
static void check_scope(int each)
{
    char name[PMI2_MAX_KEYLEN], value[PMI2_MAX_ATTRVALUE];
    NEED(PMI2_KVS_Fence() == PMI2_SUCCESS);
    for (int other = 0; other < size; other++) {
        int found = 7;
        snprintf(name, sizeof name, "-bcast-1-%d", other);
        NEED(PMI2_Info_GetNodeAttr(name, value, (int)sizeof value, &found, 0) == PMI2_SUCCESS);
        NEED((found != 0) == (node_of(other, each) == node_of(rank, each)));
    }
    int found = 7;
    NEED(PMI2_Info_GetNodeAttr("nobody-has-put-this", value, (int)sizeof value, &found, 0) == PMI2_SUCCESS && !found);
}

static void check_arrays(int each)
{
    char name[PMI2_MAX_KEYLEN];
    int numbers[4], count = 7, found = 7;
    snprintf(name, sizeof name, "numbers-%d", rank);
    NEED(PMI2_Info_PutNodeAttr(name, "1,-2,3") == PMI2_SUCCESS);
    NEED(PMI2_Info_GetNodeAttrIntArray(name, numbers, 4, &count, &found) == PMI2_SUCCESS);
    NEED(found && count == 3 && numbers[0] == 1 && numbers[1] == -2 && numbers[2] == 3);
    NEED(PMI2_Info_GetNodeAttrIntArray("no-numbers", numbers, 4, &count, &found) == PMI2_SUCCESS && !found);
    NEED(PMI2_Info_GetJobAttrIntArray("universeSize", numbers, 4, &count, &found) == PMI2_SUCCESS);
    NEED(found && count == 1 && numbers[0] >= size);
    (void)each;
}

static void check_predefined(int each)
{
    int *ranks = calloc((size_t)size, sizeof *ranks), count = 0, found = 0, number = 0;
    int first = node_of(rank, each) * each, here = first + each <= size ? each : size - first;
    char value[PMI2_MAX_ATTRVALUE];
    NEED(ranks != NULL);
    NEED(PMI2_Info_GetNodeAttrIntArray("localRanksCount", &number, 1, &count, &found) == PMI2_SUCCESS);
    NEED(found && count == 1 && number == here);
    NEED(PMI2_Info_GetNodeAttrIntArray("localRanks", ranks, size, &count, &found) == PMI2_SUCCESS);
    NEED(found && count == here);
    for (int index = 0; index < here; index++)
        NEED(ranks[index] == first + index);
    if (here > 1) {
        NEED(PMI2_Info_GetNodeAttrIntArray("localRanks", ranks, here - 1, &count, &found) == PMI2_ERR_INVALID_LENGTH);
        NEED(count == here);
    }
    NEED(PMI2_Info_PutNodeAttr("words", "no numbers") == PMI2_SUCCESS);
    NEED(PMI2_Info_GetNodeAttrIntArray("words", ranks, size, &count, &found) == PMI2_ERR_OTHER);
    NEED(PMI2_Info_PutNodeAttr("again", "1") == PMI2_SUCCESS);
    NEED(PMI2_Info_PutNodeAttr("again", "second value, with spaces; and more") == PMI2_SUCCESS);
    NEED(PMI2_Info_GetNodeAttr("again", value, (int)sizeof value, &found, 0) == PMI2_SUCCESS && found);
    NEED(value[0] == 's' || value[0] == '1');
    NEED(PMI2_Info_GetNodeAttr("words", value, 5, &found, 0) == PMI2_ERR_INVALID_LENGTH);
    NEED(PMI2_Info_GetJobAttr("nobody-knows", value, (int)sizeof value, &found) == PMI2_SUCCESS && !found);
    free(ranks);
}

int main(int argc, char *argv[])
{
    join();
    int each = mapped_each();
    share(each);
    check_scope(each);
    check_arrays(each);
    if (argc > 1 && strcmp(argv[1], "-all") == 0)
        check_predefined(each);
    NEED(PMI2_KVS_Fence() == PMI2_SUCCESS);
    NEED(PMI2_Finalize() == PMI2_SUCCESS);
    printf("rank %d of %d: attributes shared\n", rank, size);
    return 0;
}
