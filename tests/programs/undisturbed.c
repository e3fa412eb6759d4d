/* Says what a program notices of what PMI_Init starts: children, SIGCHLD, open descriptors; with threads that allocate
 * meanwhile. */
#include "program.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t signals;
static volatile int busy = 1;

static void count(int signal)
{
    (void)signal;
    signals++;
}

static void *allocate(void *unused)
{
    while (busy)
        free(malloc(100 + rand() % 5000));
    return unused;
}

int main(void)
{
    pthread_t threads[2];
    int spawned;
    signal(SIGCHLD, count);
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, allocate, NULL);
    expect(PMI_Init(&spawned), PMI_SUCCESS);
    pid_t child = waitpid(-1, NULL, WNOHANG);
    int none = child == -1 && errno == ECHILD;
    busy = 0;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    expect(PMI_Barrier(), PMI_SUCCESS);
    expect(PMI_Finalize(), PMI_SUCCESS);
    printf("%s, %d signals\n", none ? "no child" : "a child", (int)signals);
    return 0;
}
