/* The floor under every barrier on one machine: processes that share a counter and sleep on a futex until the
 * last arrives. Nobody is asked, nothing is moved.
 *
 * usage: futex_floor <processes>
 * Prints one line of JSON with the median and mean time of 100 barriers, of the slowest process. */
#define _GNU_SOURCE
#include "timing.h"

#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BARRIERS = 100, PROCESSES_MAX = 4096 };

struct shared {
    _Atomic uint32_t arrived;
    _Atomic uint32_t generation;
    double median[PROCESSES_MAX];
    double mean[PROCESSES_MAX];
};

static void barrier(struct shared *shared, uint32_t processes)
{
    uint32_t generation = atomic_load(&shared->generation);
    if (atomic_fetch_add(&shared->arrived, 1) + 1 == processes) {
        atomic_store(&shared->arrived, 0);
        atomic_fetch_add(&shared->generation, 1);
        syscall(SYS_futex, &shared->generation, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
        return;
    }
    while (atomic_load(&shared->generation) == generation)
        syscall(SYS_futex, &shared->generation, FUTEX_WAIT, generation, NULL, NULL, 0);
}

static void measure(struct shared *shared, uint32_t processes, uint32_t index)
{
    double times[BARRIERS];
    barrier(shared, processes);
    double before = now_ns();
    for (int i = 0; i < BARRIERS; i++) {
        barrier(shared, processes);
        double after = now_ns();
        times[i] = after - before;
        before = after;
    }
    shared->mean[index] = mean(times, BARRIERS);
    shared->median[index] = median(times, BARRIERS);
}

static struct shared *map_shared(void)
{
    void *memory = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("futex_floor: mmap");
        exit(1);
    }
    return memory;
}

int main(int argc, char **argv)
{
    int processes = argc == 2 ? atoi(argv[1]) : 0;
    if (processes < 1 || processes > PROCESSES_MAX) {
        fprintf(stderr, "usage: futex_floor <processes, 1 to %d>\n", PROCESSES_MAX);
        return 2;
    }
    struct shared *shared = map_shared();
    for (int i = 1; i < processes; i++) {
        pid_t child = fork();
        if (child < 0) {
            perror("futex_floor: fork");
            return 1;
        }
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            measure(shared, (uint32_t)processes, (uint32_t)i);
            _exit(0);
        }
    }
    measure(shared, (uint32_t)processes, 0);
    while (wait(NULL) > 0)
        ;
    printf("{\"size\": %d, \"barrier_ns\": %.0f, \"barrier_mean_ns\": %.0f}\n", processes,
           largest(shared->median, processes), largest(shared->mean, processes));
    return 0;
}
