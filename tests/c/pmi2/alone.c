/* A process outside any job. */
#include "conform2.h"

int main(void)
{
    int spawned = 7, appnum = 7, number = 7, ranks = 7;
    char left[32], right[32];
    printf("initialised: %d\n", PMI2_Initialized() != 0);
    SHOW(PMI2_Init(&spawned, &size, &rank, &appnum));
    printf("spawned %d, size %d, rank %d, appnum %d\n", spawned, size, rank, appnum);
    printf("initialised: %d\n", PMI2_Initialized() != 0);
    SHOW(PMI2_Job_GetRank(&number));
    printf("rank %d\n", number);
    SHOW(PMI2_Info_GetSize(&number));
    printf("size %d\n", number);
    SHOW(PMIX_Ring("mine", &number, &ranks, left, right, (int)sizeof left));
    printf("ring: %d of %d, '%s', '%s'\n", number, ranks, left, right);
    SHOW(PMI2_Finalize());
    printf("initialised: %d\n", PMI2_Initialized() != 0);
    return 0;
}
