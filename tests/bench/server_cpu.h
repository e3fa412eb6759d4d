/* How much processor time the process manager has used for its clients. */
#ifndef BENCH_SERVER_CPU_H
#define BENCH_SERVER_CPU_H

/* Finds the process that answers this one's requests: a process called pmi-bridge beside it, else its parent, which
 * is Hydra's proxy or gforker. Call it once, before server_cpu_ns. */
void server_cpu_find(void);

/* Processor time of all threads of that process so far, in nanoseconds: its utime + stime, without the rounding of
 * /proc/PID/stat to clock ticks. 0 where the kernel does not say. */
double server_cpu_ns(void);

#endif
