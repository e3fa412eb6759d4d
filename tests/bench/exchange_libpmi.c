/* The benchmark's calls over libpmi.so. */
#include "layer.h"

#include <pmi.h>
#include <stdio.h>
#include <stdlib.h>

enum { NAME_ROOM = 257 };

static char kvsname[NAME_ROOM];

static void check(int code, const char *call)
{
    if (code == PMI_SUCCESS)
        return;
    fprintf(stderr, "exchange: %s returned %d\n", call, code);
    exit(1);
}

void layer_init(int *rank, int *size)
{
    int spawned;
    check(PMI_Init(&spawned), "PMI_Init");
    check(PMI_Get_rank(rank), "PMI_Get_rank");
    check(PMI_Get_size(size), "PMI_Get_size");
    check(PMI_KVS_Get_my_name(kvsname, sizeof kvsname), "PMI_KVS_Get_my_name");
}

void layer_put(const char *key, const char *value)
{
    check(PMI_KVS_Put(kvsname, key, value), "PMI_KVS_Put");
}

void layer_commit(void)
{
    check(PMI_KVS_Commit(kvsname), "PMI_KVS_Commit");
}

void layer_barrier(void)
{
    check(PMI_Barrier(), "PMI_Barrier");
}

void layer_get(const char *key, char *value, size_t room)
{
    check(PMI_KVS_Get(kvsname, key, value, (int)room), "PMI_KVS_Get");
}

double layer_server_cpu(void)
{
    return 0; /* nobody answers: the ranks share the board */
}

void layer_finalize(void)
{
    check(PMI_Finalize(), "PMI_Finalize");
}
