/* Every rank enters a barrier, writes its process id to the file rank-<rank> in the directory argv[1], and sleeps until
 * there is a file "stop". Then all wait, those with an odd rank by asking. */
#define _POSIX_C_SOURCE 200809L
#include "../conform.h"
#include <time.h>
#include <unistd.h>

static int exists(const char *directory, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return access(path, F_OK) == 0;
}

static void tell(const char *directory, int rank)
{
    char path[4096], part[4200];
    snprintf(path, sizeof path, "%s/rank-%d", directory, rank);
    snprintf(part, sizeof part, "%s.part", path);
    FILE *file = fopen(part, "w");
    NEED(file != NULL && fprintf(file, "%d", (int)getpid()) > 0 && fclose(file) == 0 && rename(part, path) == 0);
}

int main(int argc, char *argv[])
{
    struct timespec moment = {0, 2000000};
    int spawned, rank, size;
    PMIX_Request request;
    PMI_BOOL done = PMI_FALSE;
    NEED(argc > 1 && PMI_Init(&spawned) == PMI_SUCCESS);
    NEED(PMI_Get_rank(&rank) == PMI_SUCCESS && PMI_Get_size(&size) == PMI_SUCCESS);
    NEED(PMI_Barrier() == PMI_SUCCESS);
    char *buffer = malloc((size_t)size * 32), value[32];
    NEED(buffer != NULL);
    snprintf(value, sizeof value, "rank-%d", rank);
    NEED(PMIX_Iallgather(value, buffer, 32, &request) == PMI_SUCCESS);
    tell(argv[1], rank);
    while (!exists(argv[1], "stop"))
        nanosleep(&moment, NULL);
    while (rank % 2 && !done)
        NEED(PMIX_Test(request, &done) == PMI_SUCCESS);
    NEED(PMIX_Wait(request) == PMI_SUCCESS);
    for (int other = 0; other < size; other++) {
        snprintf(value, sizeof value, "rank-%d", other);
        NEED(strcmp(buffer + other * 32, value) == 0);
    }
    NEED(PMI_Barrier() == PMI_SUCCESS);
    NEED(PMI_Finalize() == PMI_SUCCESS);
    printf("rank %d of %d: passed\n", rank, size);
    free(buffer);
    return 0;
}
