/* A child made by fork() is no member of the job: its calls fail, and the parent's membership stays whole. */
#define _POSIX_C_SOURCE 200809L
#include "conform.h"
#include <sys/wait.h>
#include <unistd.h>

static char kvsname[KVSNAME_ROOM];

static void child(void)
{
    char value[VALUE_ROOM];
    int number = -1;
    SHOW(PMI_Initialized(&number));
    printf("initialized %d\n", number);
    SHOW(PMI_Get_rank(&number));
    SHOW(PMI_KVS_Put(kvsname, "key", "the child's"));
    SHOW(PMI_KVS_Commit(kvsname));
    SHOW(PMI_Barrier());
    SHOW(PMI_KVS_Create(value, VALUE_ROOM));
    SHOW(PMI_KVS_Destroy(kvsname));
    SHOW(PMI_Init(&number));
    SHOW(PMI_Finalize());
}

int main(void)
{
    char value[VALUE_ROOM];
    int spawned, status;
    NEED(PMI_Init(&spawned) == PMI_SUCCESS);
    NEED(PMI_KVS_Get_my_name(kvsname, KVSNAME_ROOM) == PMI_SUCCESS);
    NEED(PMI_KVS_Put(kvsname, "key", "the-parent's") == PMI_SUCCESS);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        child();
        _exit(7);
    }
    NEED(waitpid(pid, &status, 0) == pid);
    printf("child's exit code %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    SHOW(PMI_KVS_Get(kvsname, "key", value, VALUE_ROOM));
    puts(value);
    SHOW(PMI_KVS_Commit(kvsname));
    SHOW(PMI_Barrier());
    SHOW(PMI_Finalize());
    return 0;
}
