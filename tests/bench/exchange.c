/* What a parallel program does with PMI before it can talk, timed: every rank puts one 64-byte value, commits,
 * waits in a barrier and gets the value of every rank, five times; then 100 empty barriers, or fewer. The first
 * exchange is reported by itself, because it meets every cold page; "exchange" and "get" are medians of the other four.
 *
 * usage: exchange [values [barriers]]
 * With `values` above 0 every rank also puts that many 1,000-byte values and gets those of all ranks, untimed, and
 * the report has the memory that the ranks hold then. `barriers` is the number of empty barriers, 1 to 100.
 *
 * Rank 0 prints one line of JSON. Times are collected through PMI itself, after the measurement. */
#include "layer.h"
#include "timing.h"

#include <stdio.h>
#include <string.h>

enum { ROUNDS = 5, BARRIERS_MAX = 100, KEY_ROOM = 32, VALUE_LENGTH = 64, FILL_LENGTH = 1000, RECORD_ROOM = 256 };

static int rank, size, barriers = BARRIERS_MAX;

/* What one rank measured: times in nanoseconds, memory in KiB. */
struct sample {
    double first, exchange, put, wait, get, barrier_median, barrier_mean;
    double rss, pss, shared;
};
enum { FIELDS = sizeof(struct sample) / sizeof(double) };

/* Processor time of the process manager for one request, in nanoseconds; known to rank 0. */
static double cpu_exchange, cpu_barrier;

static void *allocate(size_t count, size_t bytes)
{
    void *memory = malloc(count * bytes);
    if (!memory) {
        fprintf(stderr, "exchange: out of memory\n");
        exit(1);
    }
    return memset(memory, 1, count * bytes);
}

static void write_value(char *value, int round, int of_rank)
{
    snprintf(value, VALUE_LENGTH + 1, "%0*d", VALUE_LENGTH, round * size + of_rank);
}

static void check_values(char (*values)[VALUE_LENGTH + 1], int round)
{
    char expected[VALUE_LENGTH + 1];
    for (int other = 0; other < size; other++) {
        write_value(expected, round, other);
        if (strcmp(values[other], expected)) {
            fprintf(stderr, "exchange: rank %d got a wrong value of rank %d\n", rank, other);
            exit(1);
        }
    }
}

/* One exchange. Values are checked when nobody is being timed any more: all ranks share the processors. */
static struct sample exchange_once(int round)
{
    char (*keys)[KEY_ROOM] = allocate((size_t)size, sizeof *keys);
    char (*values)[VALUE_LENGTH + 1] = allocate((size_t)size, sizeof *values);
    char mine[VALUE_LENGTH + 1];
    for (int other = 0; other < size; other++)
        snprintf(keys[other], KEY_ROOM, "address-%d-%d", round, other);
    write_value(mine, round, rank);

    layer_barrier();
    double start = now_ns();
    layer_put(keys[rank], mine);
    layer_commit();
    double committed = now_ns();
    layer_barrier();
    double visible = now_ns();
    for (int other = 0; other < size; other++)
        layer_get(keys[other], values[other], sizeof *values);
    double end = now_ns();

    layer_barrier();
    check_values(values, round);
    free(keys);
    free(values);
    return (struct sample){ .exchange = end - start,
                            .put = committed - start,
                            .wait = visible - committed,
                            .get = (end - visible) / size };
}

static void measure_exchange(struct sample *sample)
{
    double exchange[ROUNDS], put[ROUNDS], wait[ROUNDS], get[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        struct sample once = exchange_once(round);
        exchange[round] = once.exchange;
        put[round] = once.put;
        wait[round] = once.wait;
        get[round] = once.get;
    }
    sample->first = exchange[0];
    sample->exchange = median(exchange + 1, ROUNDS - 1);
    sample->put = median(put + 1, ROUNDS - 1);
    sample->wait = median(wait + 1, ROUNDS - 1);
    sample->get = median(get + 1, ROUNDS - 1);
}

static void measure_barriers(struct sample *sample)
{
    double times[BARRIERS_MAX];
    layer_barrier();
    double before = now_ns();
    for (int i = 0; i < barriers; i++) {
        layer_barrier();
        double after = now_ns();
        times[i] = after - before;
        before = after;
    }
    sample->barrier_mean = mean(times, barriers);
    sample->barrier_median = median(times, barriers);
}

/* Requests that the process manager gets: per exchange and rank three barriers, a put and all gets. */
static void measure_all(struct sample *sample)
{
    double exchange_requests = (double)ROUNDS * size * (size + 4), barrier_requests = (double)(barriers + 1) * size;
    layer_barrier();
    double start = rank == 0 ? layer_server_cpu() : 0;
    measure_exchange(sample);
    double middle = rank == 0 ? layer_server_cpu() : 0;
    measure_barriers(sample);
    double end = rank == 0 ? layer_server_cpu() : 0;
    cpu_exchange = (middle - start) / exchange_requests;
    cpu_barrier = (end - middle) / barrier_requests;
}

/* Puts `count` large values a rank and reads those of all ranks. */
static void fill(int count)
{
    char key[KEY_ROOM], value[FILL_LENGTH + 1];
    memset(value, 'x', FILL_LENGTH);
    value[FILL_LENGTH] = '\0';
    for (int i = 0; i < count; i++) {
        snprintf(key, sizeof key, "fill-%d-%d", rank, i);
        layer_put(key, value);
    }
    layer_commit();
    layer_barrier();
    for (int i = 0; i < count * size; i++) {
        snprintf(key, sizeof key, "fill-%d-%d", i % size, i / size);
        layer_get(key, value, sizeof value);
    }
    layer_barrier();
}

/* Reads this process's share of memory from the kernel, in KiB. */
static void measure_memory(struct sample *sample)
{
    char line[256];
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    while (file && fgets(line, sizeof line, file)) {
        sscanf(line, "Rss: %lf", &sample->rss);
        sscanf(line, "Pss: %lf", &sample->pss);
        sscanf(line, "Pss_Shmem: %lf", &sample->shared);
    }
    if (file)
        fclose(file);
}

static void publish(const struct sample *sample)
{
    char key[KEY_ROOM], text[RECORD_ROOM];
    snprintf(key, sizeof key, "sample-%d", rank);
    snprintf(text, sizeof text, "%.0f,%.0f,%.0f,%.0f,%.1f,%.0f,%.0f,%.0f,%.0f,%.0f", sample->first,
             sample->exchange, sample->put, sample->wait, sample->get, sample->barrier_median, sample->barrier_mean, sample->rss,
             sample->pss, sample->shared);
    layer_put(key, text);
    layer_commit();
    layer_barrier();
}

/* Fields of all ranks, one row per field. */
static double *collect(void)
{
    double *fields = allocate((size_t)size * FIELDS, sizeof *fields);
    for (int other = 0; other < size; other++) {
        char key[KEY_ROOM], text[RECORD_ROOM];
        snprintf(key, sizeof key, "sample-%d", other);
        layer_get(key, text, sizeof text);
        char *next = text;
        for (int field = 0; field < FIELDS; field++, next += *next == ',')
            fields[field * size + other] = strtod(next, &next);
    }
    return fields;
}

static void report(void)
{
    double *fields = collect();
    double *first = fields, *exchange = first + size, *put = exchange + size, *wait = put + size, *get = wait + size;
    double *barrier = get + size, *barrier_mean = barrier + size;
    double *rss = barrier_mean + size, *pss = rss + size, *shared = pss + size;
    printf("{\"size\": %d, \"first_exchange_ns\": %.0f, ", size, largest(first, size));
    printf("\"exchange_ns\": %.0f, ", largest(exchange, size));
    printf("\"put_ns\": %.0f, \"wait_ns\": %.0f, ", median(put, size), median(wait, size));
    printf("\"get_ns\": %.1f, ", median(get, size));
    printf("\"get_slowest_rank_ns\": %.1f, ", largest(get, size));
    printf("\"barrier_ns\": %.0f, \"barrier_mean_ns\": %.0f, ", largest(barrier, size),
           largest(barrier_mean, size));
    printf("\"cpu_exchange_ns\": %.0f, \"cpu_barrier_ns\": %.0f, ", cpu_exchange, cpu_barrier);
    printf("\"rss_kib\": %.0f, \"pss_kib\": %.0f, ", largest(rss, size), largest(pss, size));
    printf("\"shared_total_kib\": %.0f}\n", mean(shared, size) * size);
    free(fields);
}

int main(int argc, char **argv)
{
    int values = argc > 1 ? atoi(argv[1]) : 0;
    if (argc > 2)
        barriers = atoi(argv[2]);
    if (barriers < 1 || barriers > BARRIERS_MAX) {
        fprintf(stderr, "usage: exchange [values [barriers, 1 to %d]]\n", BARRIERS_MAX);
        return 2;
    }
    struct sample sample = {0};
    layer_init(&rank, &size);
    measure_all(&sample);
    if (values > 0) {
        fill(values);
        measure_memory(&sample);
    }
    publish(&sample);
    if (rank == 0)
        report();
    layer_finalize();
    return 0;
}
