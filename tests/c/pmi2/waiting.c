/* Rank 1 waits for an attribute that nobody puts. Rank 0 leaves, dies, or stays in a fence. */
#define _POSIX_C_SOURCE 200809L
#include "conform2.h"
#include <signal.h>

int main(int argc, char *argv[])
{
    char value[PMI2_MAX_ATTRVALUE];
    int found = 7;
    const char *what = argc > 1 ? argv[1] : "";
    join();
    NEED(PMI2_KVS_Fence() == PMI2_SUCCESS);
    if (rank == 1) {
        int code = PMI2_Info_GetNodeAttr("never", value, (int)sizeof value, &found, 1);
        printf("waited: %s, found %d\n", name_of(code), found);
        fflush(stdout);
        return 3;
    }
    if (strcmp(what, "die") == 0)
        raise(SIGKILL);
    if (strcmp(what, "stay") == 0)
        PMI2_KVS_Fence();
    else
        NEED(PMI2_Finalize() == PMI2_SUCCESS);
    return 0;
}
