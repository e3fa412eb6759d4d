/* Ranks pass the same barriers whole or split, wait or ask, and have each other's pairs after each. argv[1]: rounds.
 * No key is put twice, and no value has a space, so that it runs under every PMI server. */
#define _POSIX_C_SOURCE 200809L
#include "../conform.h"
#include <time.h>

static char kvsname[KVSNAME_ROOM];
static int rank, size;

static void put_mine(int round, const char *what)
{
    char key[KEY_ROOM], value[VALUE_ROOM];
    snprintf(key, sizeof key, "%s-%d-%d", what, round, rank);
    snprintf(value, sizeof value, "%s-of-rank-%d-in-round-%d", what, rank, round);
    NEED(PMI_KVS_Put(kvsname, key, value) == PMI_SUCCESS);
    NEED(PMI_KVS_Commit(kvsname) == PMI_SUCCESS);
}

static void check_all(int round, const char *what)
{
    char key[KEY_ROOM], value[VALUE_ROOM], expected[VALUE_ROOM];
    for (int other = 0; other < size; other++) {
        snprintf(key, sizeof key, "%s-%d-%d", what, round, other);
        snprintf(expected, sizeof expected, "%s-of-rank-%d-in-round-%d", what, other, round);
        NEED(PMI_KVS_Get(kvsname, key, value, VALUE_ROOM) == PMI_SUCCESS);
        NEED(strcmp(value, expected) == 0);
    }
}

static void pause_a_moment(void)
{
    struct timespec moment = {0, 3000000};
    nanosleep(&moment, NULL);
}

static void ask_until_complete(PMIX_Request request)
{
    PMI_BOOL done = PMI_FALSE;
    while (!done)
        NEED(PMIX_Test(request, &done) == PMI_SUCCESS);
    NEED(PMIX_Wait(request) == PMI_SUCCESS);
}

/* What a rank has put inside a barrier is its own at once. Other libraries' servers may not say so. */
static void check_own(int round)
{
    char key[KEY_ROOM], value[VALUE_ROOM], expected[VALUE_ROOM];
    snprintf(key, sizeof key, "inside-%d-%d", round, rank);
    snprintf(expected, sizeof expected, "inside-of-rank-%d-in-round-%d", rank, round);
    NEED(PMI_KVS_Get(kvsname, key, value, VALUE_ROOM) == PMI_SUCCESS && strcmp(value, expected) == 0);
}

/* One barrier, in one of its forms. What is put inside it is everybody's after the next. */
static void pass(int round, int form)
{
    PMIX_Request request = PMIX_REQUEST_NULL;
    if (form == 0) {
        put_mine(round, "inside");
        NEED(PMI_Barrier() == PMI_SUCCESS);
        return;
    }
    NEED(PMIX_Ibarrier(&request) == PMI_SUCCESS && request != PMIX_REQUEST_NULL);
    put_mine(round, "inside");
    if ((rank + round) % 5 == 0)
        pause_a_moment();
    if (form == 1)
        NEED(PMIX_Wait(request) == PMI_SUCCESS);
    else
        ask_until_complete(request);
    check_own(round);
    NEED(PMIX_Wait(request) == PMI_SUCCESS);
    NEED(PMIX_Wait(request + 1) == PMI_ERR_INVALID_ARG);
}

/* A request that nobody waits for is complete after the next barrier of any kind. */
static void forget(int round)
{
    PMIX_Request forgotten, next;
    PMI_BOOL done = PMI_FALSE;
    NEED(PMIX_Ibarrier(&forgotten) == PMI_SUCCESS);
    if ((rank + round) % 2) {
        NEED(PMI_Barrier() == PMI_SUCCESS);
    } else {
        NEED(PMIX_Ibarrier(&next) == PMI_SUCCESS && next != forgotten);
        NEED(PMIX_Test(forgotten, &done) == PMI_SUCCESS && done);
        NEED(PMIX_Wait(next) == PMI_SUCCESS);
    }
    NEED(PMIX_Test(forgotten, &done) == PMI_SUCCESS && done);
    NEED(PMIX_Wait(forgotten) == PMI_SUCCESS);
}

int main(int argc, char *argv[])
{
    int spawned, rounds = argc > 1 ? atoi(argv[1]) : 20;
    NEED(PMI_Init(&spawned) == PMI_SUCCESS);
    NEED(PMI_Get_rank(&rank) == PMI_SUCCESS && PMI_Get_size(&size) == PMI_SUCCESS);
    NEED(PMI_KVS_Get_my_name(kvsname, KVSNAME_ROOM) == PMI_SUCCESS);
    NEED(PMIX_Wait(PMIX_REQUEST_NULL) == PMI_SUCCESS && PMIX_Wait(1) == PMI_ERR_INVALID_ARG);
    for (int round = 0; round < rounds; round++) {
        put_mine(round, "before");
        pass(round, (rank + round) % 3);
        check_all(round, "before");
        forget(round);
        check_all(round, "inside");
        NEED(PMI_Barrier() == PMI_SUCCESS);
    }
    /* A rank may leave with a request under way. */
    PMIX_Request last;
    NEED(PMIX_Ibarrier(&last) == PMI_SUCCESS);
    NEED(PMI_Finalize() == PMI_SUCCESS);
    printf("rank %d of %d: passed\n", rank, size);
    return 0;
}
