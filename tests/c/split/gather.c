/* PMIX_Iallgather, waited for, asked for, and completed by the next barrier. */
#include "../conform.h"

enum { WIDTH = 40 };

static int rank, size;

static void check(const char *buffer, int round)
{
    char expected[WIDTH];
    for (int other = 0; other < size; other++) {
        snprintf(expected, sizeof expected, "round-%d-of-rank-%d", round, other);
        NEED(strcmp(buffer + other * WIDTH, expected) == 0);
    }
}

/* The odd ranks have wider rows; a row that is too narrow for another rank's value spoils this rank's request only. */
static void unequal(void)
{
    PMIX_Request request;
    int width = rank % 2 ? 100 : 10, fits = size == 1 || rank % 2;
    char *rows = calloc((size_t)size, (size_t)width);
    NEED(rows != NULL);
    NEED(PMIX_Iallgather(rank % 2 ? letters(50) : "short", rows, width, &request) == PMI_SUCCESS);
    NEED(PMIX_Wait(request) == (fits ? PMI_SUCCESS : PMI_ERR_INVALID_LENGTH));
    NEED(PMIX_Wait(request) == (fits ? PMI_SUCCESS : PMI_ERR_INVALID_LENGTH));
    NEED(strcmp(rows, "short") == 0);
    free(rows);
}

static void hostile(char *buffer)
{
    PMIX_Request request = 7;
    NEED(PMIX_Iallgather(NULL, buffer, WIDTH, &request) == PMI_ERR_INVALID_VAL);
    NEED(PMIX_Iallgather(letters(5000), buffer, WIDTH, &request) == PMI_ERR_INVALID_VAL);
    NEED(PMIX_Iallgather("value", NULL, WIDTH, &request) == PMI_ERR_INVALID_ARG);
    NEED(PMIX_Iallgather("value", buffer, WIDTH, NULL) == PMI_ERR_INVALID_ARG);
    NEED(PMIX_Iallgather("value", buffer, 5, &request) == PMI_ERR_INVALID_LENGTH);
    NEED(PMIX_Iallgather("value", buffer, 0, &request) == PMI_ERR_INVALID_LENGTH);
    NEED(PMIX_Iallgather("value", buffer, -1, &request) == PMI_ERR_INVALID_LENGTH);
    NEED(PMIX_Ibarrier(NULL) == PMI_ERR_INVALID_ARG && request == 7);
    NEED(PMIX_Wait(-1) == PMI_ERR_INVALID_ARG && PMIX_Wait(1000) == PMI_ERR_INVALID_ARG);
    NEED(PMIX_Test(PMIX_REQUEST_NULL, NULL) == PMI_ERR_INVALID_ARG);
}

int main(void)
{
    int spawned, flag = 7;
    PMIX_Request request;
    NEED(PMIX_Ibarrier(&request) == PMI_FAIL && PMIX_Wait(0) == PMI_FAIL && PMIX_Test(0, &flag) == PMI_FAIL);
    NEED(PMI_Init(&spawned) == PMI_SUCCESS);
    NEED(PMI_Get_rank(&rank) == PMI_SUCCESS && PMI_Get_size(&size) == PMI_SUCCESS);
    char *buffer = malloc((size_t)size * WIDTH), value[WIDTH];
    NEED(buffer != NULL);
    hostile(buffer);
    for (int round = 0; round < 9; round++) {
        memset(buffer, '#', (size_t)size * WIDTH);
        snprintf(value, sizeof value, "round-%d-of-rank-%d", round, rank);
        NEED(PMIX_Iallgather(value, buffer, WIDTH, &request) == PMI_SUCCESS);
        PMI_BOOL done = (rank + round) % 3 != 0;
        if (round % 2)
            NEED(PMI_Barrier() == PMI_SUCCESS);
        while (!done)
            NEED(PMIX_Test(request, &done) == PMI_SUCCESS);
        NEED(PMIX_Wait(request) == PMI_SUCCESS);
        check(buffer, round);
    }
    unequal();
    NEED(PMI_Finalize() == PMI_SUCCESS);
    NEED(PMIX_Ibarrier(&request) == PMI_FAIL);
    printf("rank %d of %d: gathered\n", rank, size);
    free(buffer);
    return 0;
}
