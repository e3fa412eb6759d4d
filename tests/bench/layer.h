/* The seven calls that the exchange benchmark makes, whatever carries them. exchange_libpmi.c maps them to
 * libpmi.so, exchange_wire.c to the PMI-1 wire protocol. Every call ends the process with a message and exit
 * code 1 when it fails: a benchmark has nothing to recover. */
#ifndef BENCH_LAYER_H
#define BENCH_LAYER_H

#include <stddef.h>

/* Joins the job; stores this process's rank and the number of ranks. */
void layer_init(int *rank, int *size);

/* Puts one pair into the job's own key-value space, visible to the others after commit and barrier. */
void layer_put(const char *key, const char *value);

/* Commits what was put. */
void layer_commit(void);

/* Returns when every rank has called it. */
void layer_barrier(void);

/* Copies the value of a key, with its NUL, to `value`, which has room for `room` bytes. */
void layer_get(const char *key, char *value, size_t room);

/* Processor time in nanoseconds that the process which answers the calls has used; 0 where there is none. Rank 0
 * may call it. */
double layer_server_cpu(void);

/* Leaves the job. */
void layer_finalize(void);

#endif
