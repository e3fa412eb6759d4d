/* Maxima are answered at any time: some MPI libraries ask before PMI_Init and give up if that fails. */
#include "conform.h"

static void maxima(void)
{
    int length = -1;
    SHOW(PMI_KVS_Get_name_length_max(&length));
    printf("%d\n", length);
    SHOW(PMI_KVS_Get_name_length_max(NULL));
    SHOW(PMI_KVS_Get_key_length_max(&length));
    printf("%d\n", length);
    SHOW(PMI_KVS_Get_key_length_max(NULL));
    SHOW(PMI_KVS_Get_value_length_max(&length));
    printf("%d\n", length);
    SHOW(PMI_KVS_Get_value_length_max(NULL));
    SHOW(PMI_Get_id_length_max(&length));
    printf("id length max %d\n", length);
}

int main(void)
{
    int spawned;
    maxima();
    NEED(PMI_Init(&spawned) == PMI_SUCCESS);
    maxima();
    NEED(PMI_Finalize() == PMI_SUCCESS);
    maxima();
    return 0;
}
