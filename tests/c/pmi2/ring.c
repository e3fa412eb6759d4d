/* Everybody gives a value to its neighbours in the ring, several times, with fences in between. */
#include "conform2.h"

int main(void)
{
    char mine[64], left[64], right[64], expected[64];
    int place, places;
    join();
    for (int round = 1; round <= 3; round++) {
        snprintf(mine, sizeof mine, "round-%d-of-%d", round, rank);
        NEED(PMIX_Ring(mine, &place, &places, left, right, (int)sizeof mine) == PMI2_SUCCESS);
        NEED(places == size && place >= 0 && place < size);
        /* The place may differ from the rank; where it does not, the neighbours are known. */
        if (place == rank) {
            snprintf(expected, sizeof expected, "round-%d-of-%d", round, (rank + size - 1) % size);
            NEED(strcmp(left, expected) == 0);
            snprintf(expected, sizeof expected, "round-%d-of-%d", round, (rank + 1) % size);
            NEED(strcmp(right, expected) == 0);
        }
        NEED(round != 2 || PMI2_KVS_Fence() == PMI2_SUCCESS);
    }
    NEED(PMI2_Finalize() == PMI2_SUCCESS);
    printf("rank %d of %d: round the ring\n", rank, size);
    return 0;
}
