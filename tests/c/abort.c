/* abort CODE: rank 0 aborts with CODE from a second thread while its first one, like all ranks but the last, stands
 * in a barrier. The last rank never comes. A rank that is alone aborts at once. */
#define _POSIX_C_SOURCE 200809L
#include "conform.h"
#include <pthread.h>
#include <time.h>
#include <unistd.h>

static int code;

/* The pause lets the first thread reach the barrier; without it the test would still pass. */
static void *abort_soon(void *unused)
{
    nanosleep(&(struct timespec){.tv_nsec = 100 * 1000 * 1000}, NULL);
    PMI_Abort(code, "by intent");
    return unused;
}

int main(int argc, char *argv[])
{
    int spawned, rank, size;
    pthread_t thread;
    NEED(argc == 2);
    code = atoi(argv[1]);
    NEED(PMI_Init(&spawned) == PMI_SUCCESS);
    NEED(PMI_Get_rank(&rank) == PMI_SUCCESS && PMI_Get_size(&size) == PMI_SUCCESS);
    if (size == 1)
        PMI_Abort(code, "by intent");
    if (rank == size - 1)
        for (;;)
            pause();
    if (rank == 0)
        NEED(pthread_create(&thread, NULL, abort_soon, NULL) == 0);
    NEED(PMI_Barrier() != PMI_SUCCESS);
    if (rank == 0)
        pthread_join(thread, NULL);
    printf("rank %d: the barrier failed, as it should\n", rank);
    return 98;
}
