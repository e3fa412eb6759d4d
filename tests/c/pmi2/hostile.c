/* Arguments under which Slurm's libpmi2 crashes, hangs, or cuts a result short: ours must return a code. */
#include "conform2.h"

static char text[8];

static void pointers(void)
{
    int number = 7, count = 7;
    SHOW(PMI2_Init(NULL, &size, &rank, &number));
    SHOW(PMI2_Init(&number, NULL, &rank, &number));
    SHOW(PMI2_Init(&number, &size, NULL, &number));
    SHOW(PMI2_Init(&number, &size, &rank, NULL));
    SHOW(PMI2_Job_GetId(NULL, 8));
    SHOW(PMI2_Job_GetRank(NULL));
    SHOW(PMI2_Info_GetSize(NULL));
    SHOW(PMI2_KVS_Put(NULL, "value"));
    SHOW(PMI2_KVS_Put("key", NULL));
    SHOW(PMI2_KVS_Get(NULL, 0, NULL, text, 8, &number));
    SHOW(PMI2_KVS_Get(NULL, 0, "key", NULL, 8, &number));
    SHOW(PMI2_KVS_Get(NULL, 0, "key", text, 8, NULL));
    SHOW(PMI2_KVS_Get("another job", 0, "key", text, 8, &number));
    SHOW(PMI2_KVS_Get(letters(5000), 0, "key", text, 8, &number));
    SHOW(PMI2_Info_PutNodeAttr(NULL, "value"));
    SHOW(PMI2_Info_PutNodeAttr("name", NULL));
    SHOW(PMI2_Info_PutNodeAttr("", "value"));
    SHOW(PMI2_Info_PutNodeAttr(letters(65), "value"));
    SHOW(PMI2_Info_PutNodeAttr("name", letters(1025)));
    SHOW(PMI2_Info_GetNodeAttr(NULL, text, 8, &number, 1));
    SHOW(PMI2_Info_GetNodeAttr("name", NULL, 8, &number, 1));
    SHOW(PMI2_Info_GetNodeAttr("name", text, 8, NULL, 1));
    SHOW(PMI2_Info_GetNodeAttrIntArray(NULL, &number, 1, &count, &number));
    SHOW(PMI2_Info_GetNodeAttrIntArray("name", NULL, 1, &count, &number));
    SHOW(PMI2_Info_GetNodeAttrIntArray("name", &number, 1, NULL, &number));
    SHOW(PMI2_Info_GetNodeAttrIntArray("name", &number, 1, &count, NULL));
    SHOW(PMI2_Info_GetJobAttr(NULL, text, 8, &number));
    SHOW(PMI2_Info_GetJobAttr("name", NULL, 8, &number));
    SHOW(PMI2_Info_GetJobAttr("name", text, 8, NULL));
    SHOW(PMI2_Info_GetJobAttrIntArray("name", NULL, 1, &count, &number));
    printf("untouched: %d\n", number == 7 && count == 7 && !strcmp(text, "#######"));
}

static void lengths(void)
{
    int number = 7, count = 7;
    SHOW(PMI2_KVS_Put("key", "a longer value"));
    SHOW(PMI2_KVS_Get(NULL, 0, "key", text, 0, &number));
    SHOW(PMI2_KVS_Get(NULL, 0, "key", text, -1, &number));
    SHOW(PMI2_KVS_Get(NULL, -2147483647 - 1, "key", text, -2147483647 - 1, &number));
    SHOW(PMI2_Job_GetId(text, 8));
    SHOW(PMI2_Job_GetId(text, -1));
    SHOW(PMI2_Info_PutNodeAttr("name", "1,2,3,4,5,6,7"));
    SHOW(PMI2_Info_GetNodeAttr("name", text, 8, &number, 1));
    SHOW(PMI2_Info_GetNodeAttr("name", text, -1, &number, 0));
    SHOW(PMI2_Info_GetJobAttr("PMI_process_mapping", text, 8, &number));
    SHOW(PMI2_Info_GetJobAttrIntArray("PMI_process_mapping", &number, 1, &count, &number));
    printf("untouched: %d\n", number == 7 && count == 7 && !strcmp(text, "#######"));
    SHOW(PMI2_Info_GetNodeAttrIntArray("name", &number, -1, &count, &number));
    printf("needs: %d\n", count);
    SHOW(PMI2_KVS_Get(NULL, 1000000, "key", text, 1, &number));
    printf("'%s', %d\n", text, number);
}

static void ring(void)
{
    int place = 7, places = 7;
    char left[8] = "#######", right[8] = "#######";
    SHOW(PMIX_Ring(NULL, &place, &places, left, right, 8));
    SHOW(PMIX_Ring("value", NULL, &places, left, right, 8));
    SHOW(PMIX_Ring("value", &place, NULL, left, right, 8));
    SHOW(PMIX_Ring("value", &place, &places, NULL, right, 8));
    SHOW(PMIX_Ring("value", &place, &places, left, NULL, 8));
    SHOW(PMIX_Ring("value", &place, &places, left, right, 5));
    SHOW(PMIX_Ring("value", &place, &places, left, right, -1));
    SHOW(PMIX_Ring(letters(1025), &place, &places, left, right, 8));
    printf("untouched: %d\n", place == 7 && places == 7 && left[0] == '#' && right[0] == '#');
}

static void not_yet(void)
{
    PMI2_Connect_comm_t connection = {NULL, NULL, NULL, -1};
    MPID_Info info = {0, 0, 0, NULL, (char *)"key", (char *)"value"};
    const MPID_Info *infos[] = {&info}, *none[] = {NULL};
    const char *commands[] = {"/bin/true", NULL};
    int one[] = {1, 1}, zero[] = {0, 0}, negative[] = {-1}, errors[] = {7, 7};
    SHOW(PMI2_Job_Connect(NULL, &connection));
    SHOW(PMI2_Job_Connect("job", NULL));
    SHOW(PMI2_Job_Connect("job", &connection));
    SHOW(PMI2_Job_Disconnect(NULL));
    SHOW(PMI2_Job_Disconnect("job"));
    SHOW(PMI2_Nameserv_publish(NULL, &info, "port"));
    SHOW(PMI2_Nameserv_publish("service", &info, NULL));
    SHOW(PMI2_Nameserv_publish("service", NULL, "port"));
    SHOW(PMI2_Nameserv_lookup(NULL, NULL, text, 8));
    SHOW(PMI2_Nameserv_lookup("service", NULL, NULL, 8));
    SHOW(PMI2_Nameserv_lookup("service", NULL, text, 8));
    SHOW(PMI2_Nameserv_unpublish(NULL, NULL));
    SHOW(PMI2_Nameserv_unpublish("service", &info));
    SHOW(PMI2_Job_Spawn(0, commands, NULL, NULL, one, zero, NULL, 0, NULL, text, 8, errors));
    SHOW(PMI2_Job_Spawn(1, NULL, NULL, NULL, one, zero, NULL, 0, NULL, text, 8, errors));
    SHOW(PMI2_Job_Spawn(2, commands, NULL, NULL, one, zero, NULL, 0, NULL, text, 8, errors));
    SHOW(PMI2_Job_Spawn(1, commands, NULL, NULL, NULL, zero, NULL, 0, NULL, text, 8, errors));
    SHOW(PMI2_Job_Spawn(1, commands, NULL, NULL, zero, zero, NULL, 0, NULL, text, 8, errors));
    SHOW(PMI2_Job_Spawn(1, commands, NULL, NULL, one, one, NULL, 0, NULL, text, 8, errors));
    SHOW(PMI2_Job_Spawn(1, commands, NULL, NULL, one, one, none, 0, NULL, text, 8, errors));
    SHOW(PMI2_Job_Spawn(1, commands, NULL, NULL, one, negative, infos, 0, NULL, text, 8, errors));
    SHOW(PMI2_Job_Spawn(1, commands, NULL, NULL, one, zero, NULL, 1, NULL, text, 8, errors));
    SHOW(PMI2_Job_Spawn(1, commands, NULL, NULL, one, zero, NULL, -1, infos, text, 8, errors));
    SHOW(PMI2_Job_Spawn(1, commands, NULL, NULL, one, zero, NULL, 0, NULL, NULL, 8, errors));
    printf("untouched: %d\n", errors[0] == 7);
    SHOW(PMI2_Job_Spawn(1, commands, NULL, NULL, one, one, infos, 1, infos, text, 8, errors));
    SHOW(errors[0]);
}

int main(void)
{
    strcpy(text, "#######");
    join();
    pointers();
    lengths();
    ring();
    not_yet();
    SHOW(PMI2_Finalize());
    return 0;
}
