/* Ranks that get into trouble on purpose, one kind a run.
 *
 * usage: trouble <kind> <directory> [number]
 *
 *   wait      rank 0 stays outside the barrier for good, the others wait in it
 *   idle      everybody stays outside PMI for good
 *   early     rank <number> leaves the job and ends; the others pass no barrier, and leave a while later
 *   quit      rank 1 ends with exit code <number> and without PMI_Finalize, the others wait in a barrier
 *   abort     rank 1 calls PMI_Abort with <number>, the others wait in a barrier
 *   rounds    exchanges until the file <directory>/stop exists, then ends well; needs two ranks or more
 *   long      puts a value beyond the limit, then a key
 *   fill      puts 1,000-byte values until a put, commit or barrier fails
 *   plain     an exchange that works, if the job lets this rank in
 *
 * Every rank writes its process id to <directory>/rank-<rank> before it gets into trouble. */
#include "program.h"

#include <unistd.h>

static const char *directory;
static int number;

static void write_pid(void)
{
    char path[4096], done[4096 + 8];
    snprintf(path, sizeof path, "%s/rank-%d", directory, rank);
    snprintf(done, sizeof done, "%s.part", path);
    FILE *file = fopen(done, "w");
    if (!file || fprintf(file, "%d", (int)getpid()) < 0 || fclose(file) || rename(done, path)) {
        perror(path);
        exit(1);
    }
}

/* Fails if the barrier does: the launcher has to see it. */
static void enter_barrier(void)
{
    int code = PMI_Barrier();
    if (code == PMI_SUCCESS)
        return;
    fprintf(stderr, "rank %d: PMI_Barrier returned %d\n", rank, code);
    exit(1);
}

static void wait_for_good(void)
{
    if (rank == 0)
        for (;;)
            pause();
    enter_barrier();
}

static void stay_idle(void)
{
    for (;;)
        pause();
}

/* Longer than it takes to notice that a server is gone. */
static void leave_early(void)
{
    if (rank != number)
        sleep(5);
}

static void quit(void)
{
    if (rank == 1)
        exit(number);
    enter_barrier();
}

static void call_abort(void)
{
    if (rank == 1)
        PMI_Abort(number, "the test wants it so");
    enter_barrier();
}

/* Rank 0 alone looks for the file: all must take the same decision. */
static void rounds(void)
{
    char path[4096], text[KEY_ROOM];
    snprintf(path, sizeof path, "%s/stop", directory);
    for (int round = 0, stop = 0; !stop; round++) {
        snprintf(text, sizeof text, "round %d, %s", round, rank || access(path, F_OK) ? "go on" : "stop");
        put_value(kvsname, "round", text);
        commit_and_wait(kvsname);
        char value[VALUE_ROOM];
        expect(PMI_KVS_Get(kvsname, "round-0", value, sizeof value), PMI_SUCCESS);
        stop = strstr(value, "stop") != NULL;
        snprintf(text, sizeof text, "round %d, go on", round);
        expect_value(kvsname, "round", size - 1, text);
        expect(PMI_Barrier(), PMI_SUCCESS);
        usleep(1000);
    }
}

static void put_beyond_limits(void)
{
    char text[2 * VALUE_ROOM];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    expect(PMI_KVS_Put(kvsname, "key", text), PMI_ERR_INVALID_VAL);
    expect(PMI_KVS_Put(kvsname, text, "value"), PMI_ERR_INVALID_KEY);
    fprintf(stderr, "rank %d: both puts were refused\n", rank);
    exit(1);
}

static void fill_the_log(void)
{
    char value[1001], key[KEY_ROOM];
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (int i = 0; i < 1000000; i++) {
        snprintf(key, sizeof key, "%d-%d", rank, i);
        int code = PMI_KVS_Put(kvsname, key, value);
        if (code == PMI_SUCCESS)
            code = PMI_KVS_Commit(kvsname);
        if (code == PMI_SUCCESS && i % 16 == 15)
            code = PMI_Barrier();
        if (code == PMI_SUCCESS)
            continue;
        fprintf(stderr, "rank %d: value %d was refused with %d\n", rank, i, code);
        exit(1);
    }
}

static void exchange(void)
{
    put_value(kvsname, "address", "here");
    commit_and_wait(kvsname);
    for (int other = 0; other < size; other++)
        expect_value(kvsname, "address", other, "here");
}

static const struct {
    const char *name;
    void (*run)(void);
} kinds[] = {
    {"wait", wait_for_good}, {"idle", stay_idle}, {"early", leave_early},      {"quit", quit},
    {"abort", call_abort},   {"rounds", rounds},  {"long", put_beyond_limits}, {"fill", fill_the_log},
    {"plain", exchange},
};

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    directory = argv[2];
    number = argc > 3 ? atoi(argv[3]) : 0;
    join();
    write_pid();
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i].name, argv[1]))
            kinds[i].run();
    expect(PMI_Finalize(), PMI_SUCCESS);
    return 0;
}
