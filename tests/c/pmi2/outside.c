/* Calls before PMI2_Init and after PMI2_Finalize. Slurm's library talks to descriptor -1 here. */
#include "conform2.h"

static void call_all(void)
{
    static char text[ID_ROOM];
    PMI2_Connect_comm_t connection = {NULL, NULL, NULL, -1};
    const char *commands[] = {"/bin/true"};
    int number, count, processes[] = {1};
    printf("initialised: %d\n", PMI2_Initialized());
    SHOW(PMI2_Job_GetId(text, ID_ROOM));
    SHOW(PMI2_Job_GetRank(&number));
    SHOW(PMI2_Info_GetSize(&number));
    SHOW(PMI2_Job_Connect("job", &connection));
    SHOW(PMI2_Job_Disconnect("job"));
    SHOW(PMI2_KVS_Put("key", "value"));
    SHOW(PMI2_KVS_Fence());
    SHOW(PMI2_KVS_Get(NULL, PMI2_ID_NULL, "key", text, ID_ROOM, &number));
    SHOW(PMI2_Info_PutNodeAttr("name", "value"));
    SHOW(PMI2_Info_GetNodeAttr("name", text, ID_ROOM, &number, 1));
    SHOW(PMI2_Info_GetNodeAttrIntArray("localRanks", &number, 1, &count, &number));
    SHOW(PMI2_Info_GetJobAttr("universeSize", text, ID_ROOM, &number));
    SHOW(PMI2_Info_GetJobAttrIntArray("universeSize", &number, 1, &count, &number));
    SHOW(PMI2_Nameserv_publish("service", NULL, "port"));
    SHOW(PMI2_Nameserv_lookup("service", NULL, text, ID_ROOM));
    SHOW(PMI2_Nameserv_unpublish("service", NULL));
    SHOW(PMI2_Job_Spawn(1, commands, NULL, NULL, processes, NULL, NULL, 0, NULL, text, ID_ROOM, NULL));
    SHOW(PMIX_Ring("value", &number, &count, text, text, ID_ROOM));
}

int main(void)
{
    call_all();
    SHOW(PMI2_Finalize());
    join();
    SHOW(PMI2_Finalize());
    call_all();
    return 0;
}
