/* Rank 0 calls PMI2_Abort with the given flag; the others stand in a fence, or if the flag is 0, go on without one. */
#define _POSIX_C_SOURCE 200809L
#include "conform2.h"
#include <time.h>

int main(int argc, char *argv[])
{
    int flag = argc > 1 ? atoi(argv[1]) : 1;
    struct timespec moment = {0, 200000000};
    join();
    NEED(PMI2_KVS_Fence() == PMI2_SUCCESS);
    if (rank == 0) {
        PMI2_Abort(flag, "by intent");
        return 98;
    }
    if (flag != 0) {
        PMI2_KVS_Fence();
        return 97;
    }
    nanosleep(&moment, NULL);
    NEED(PMI2_KVS_Put("key", "value") == PMI2_SUCCESS);
    NEED(PMI2_Finalize() == PMI2_SUCCESS);
    printf("rank %d of %d: went on\n", rank, size);
    return 0;
}
