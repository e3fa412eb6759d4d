/* The floor under every server that answers requests one by one: a loop over epoll that reads a request from a
 * socket pair and writes a reply that it need not look up. Its clients do what the exchange benchmark does over the
 * wire protocol: a put, a barrier, a get for each client; then empty barriers.
 *
 * usage: epoll_floor [--batch | --batch-all] <clients>
 * With --batch the server runs under SCHED_BATCH: waking up, it does not interrupt a client. With --batch-all the
 * clients do too: an answered client does not interrupt the server, which no server can arrange. Prints one line of JSON with times of the slowest client, and the server's processor time per request. */
#define _GNU_SOURCE
#include "server_cpu.h"
#include "timing.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 5, BARRIERS = 100, CLIENTS_MAX = 1024, EVENTS = 64, BARRIER = 'b', ANSWERED = 'g' };
/* As long as the lines of a get and its answer are in the exchange benchmark. */
enum { REQUEST_LENGTH = 48, REPLY_LENGTH = 120 };

/* What each client measured, in nanoseconds. */
struct shared {
    double exchange[CLIENTS_MAX], get[CLIENTS_MAX], barrier[CLIENTS_MAX];
    double cpu_exchange, cpu_barrier;
};

static int clients, sockets[CLIENTS_MAX];
static struct shared *shared;

static void check(int right, const char *what)
{
    if (right)
        return;
    perror(what);
    exit(1);
}

static void ask(int fd, char kind)
{
    char request[REQUEST_LENGTH] = {kind}, reply[REPLY_LENGTH];
    check(write(fd, request, sizeof request) == sizeof request, "epoll_floor: request");
    check(read(fd, reply, sizeof reply) == sizeof reply, "epoll_floor: reply");
}

static double exchange(int fd, double *get)
{
    ask(fd, BARRIER);
    double start = now_ns();
    ask(fd, ANSWERED);
    ask(fd, BARRIER);
    double visible = now_ns();
    for (int i = 0; i < clients; i++)
        ask(fd, ANSWERED);
    double end = now_ns();
    *get = (end - visible) / clients;
    ask(fd, BARRIER);
    return end - start;
}

static double barriers(int fd)
{
    double times[BARRIERS];
    for (int i = -1; i < BARRIERS; i++) {
        double before = now_ns();
        ask(fd, BARRIER);
        times[i < 0 ? 0 : i] = now_ns() - before;
    }
    return median(times, BARRIERS);
}

/* The first exchange is not counted: it meets cold pages. */
static void client(int fd, int index)
{
    double times[ROUNDS], gets[ROUNDS], start = 0, middle = 0;
    server_cpu_find();
    ask(fd, BARRIER);
    start = index == 0 ? server_cpu_ns() : 0;
    for (int round = 0; round < ROUNDS; round++)
        times[round] = exchange(fd, &gets[round]);
    middle = index == 0 ? server_cpu_ns() : 0;
    shared->barrier[index] = barriers(fd);
    shared->exchange[index] = median(times + 1, ROUNDS - 1);
    shared->get[index] = median(gets + 1, ROUNDS - 1);
    if (index == 0) {
        shared->cpu_exchange = (middle - start) / ((double)ROUNDS * clients * (clients + 4));
        shared->cpu_barrier = (server_cpu_ns() - middle) / ((double)(BARRIERS + 1) * clients);
    }
    _exit(0);
}

static void start_clients(int poll)
{
    for (int i = 0; i < clients; i++) {
        int pair[2];
        check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "epoll_floor: socketpair");
        pid_t child = fork();
        check(child >= 0, "epoll_floor: fork");
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            close(pair[0]);
            client(pair[1], i);
        }
        close(pair[1]);
        sockets[i] = pair[0];
        struct epoll_event event = {.events = EPOLLIN, .data.fd = pair[0]};
        check(epoll_ctl(poll, EPOLL_CTL_ADD, pair[0], &event) == 0, "epoll_floor: epoll_ctl");
    }
}

static void answer(int fd)
{
    static const char reply[REPLY_LENGTH];
    check(write(fd, reply, sizeof reply) == sizeof reply, "epoll_floor: answer");
}

/* Answers one request; returns 0 at the client's end. */
static int serve_one(int fd)
{
    static int waiting;
    char request[REQUEST_LENGTH];
    ssize_t length = read(fd, request, sizeof request);
    if (length <= 0)
        return 0;
    if (request[0] != BARRIER) {
        answer(fd);
    } else if (++waiting == clients) {
        waiting = 0;
        for (int i = 0; i < clients; i++)
            answer(sockets[i]);
    }
    return 1;
}

static void serve(int poll)
{
    struct epoll_event events[EVENTS];
    for (int open = clients; open > 0;) {
        int count = epoll_wait(poll, events, EVENTS, -1);
        check(count >= 0, "epoll_floor: epoll_wait");
        for (int i = 0; i < count; i++) {
            if (serve_one(events[i].data.fd))
                continue;
            epoll_ctl(poll, EPOLL_CTL_DEL, events[i].data.fd, NULL);
            open--;
        }
    }
}

static void use_batch_policy(void)
{
    struct sched_param none = {0};
    check(sched_setscheduler(0, SCHED_BATCH, &none) == 0, "epoll_floor: SCHED_BATCH");
}

int main(int argc, char **argv)
{
    int batch = argc == 3 && !strcmp(argv[1], "--batch"), batch_all = argc == 3 && !strcmp(argv[1], "--batch-all");
    clients = argc == 2 + batch + batch_all ? atoi(argv[argc - 1]) : 0;
    if (clients < 1 || clients > CLIENTS_MAX) {
        fprintf(stderr, "usage: epoll_floor [--batch | --batch-all] <clients, 1 to %d>\n", CLIENTS_MAX);
        return 2;
    }
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(shared != MAP_FAILED, "epoll_floor: mmap");
    int poll = epoll_create1(EPOLL_CLOEXEC);
    check(poll >= 0, "epoll_floor: epoll_create1");
    if (batch_all)
        use_batch_policy();
    start_clients(poll);
    if (batch)
        use_batch_policy();
    serve(poll);
    for (int status; wait(&status) > 0;)
        check(status == 0, "epoll_floor: a client failed");
    printf("{\"size\": %d, \"exchange_ns\": %.0f, \"get_ns\": %.1f, ", clients, largest(shared->exchange, clients),
           median(shared->get, clients));
    printf("\"barrier_ns\": %.0f, \"cpu_exchange_ns\": %.0f, \"cpu_barrier_ns\": %.0f}\n",
           largest(shared->barrier, clients), shared->cpu_exchange, shared->cpu_barrier);
    return 0;
}
