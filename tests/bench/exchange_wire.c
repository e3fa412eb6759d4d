/* The benchmark's calls over the PMI-1 wire protocol: one line per command on the inherited descriptor PMI_FD, or on a
 * connection to PMI_PORT, one line per answer. This is what MPICH's own client does; the same program runs under every
 * process manager. */
#include "layer.h"
#include "server_cpu.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* SET_LINES: size, rank and debug level, told after initack. */
enum { LINE_ROOM = 2048, NAME_ROOM = 257, SET_LINES = 3 };

static int fd;
static char kvsname[NAME_ROOM];

/* Bytes received and not yet returned as a line. */
static struct {
    char bytes[LINE_ROOM];
    size_t start, end;
} input;

static void fail(const char *what, const char *detail)
{
    fprintf(stderr, "exchange: %s: %s\n", what, detail);
    exit(1);
}

static int number_from(const char *variable)
{
    const char *text = getenv(variable);
    if (!text)
        fail(variable, "not set: start this program under mpiexec");
    return atoi(text);
}

static void send_line(const char *line)
{
    size_t length = strlen(line);
    while (length > 0) {
        ssize_t written = write(fd, line, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            fail("write to the process manager", strerror(errno));
        line += written;
        length -= (size_t)written;
    }
}

static void fill_input(void)
{
    memmove(input.bytes, input.bytes + input.start, input.end - input.start);
    input.end -= input.start;
    input.start = 0;
    ssize_t count = read(fd, input.bytes + input.end, sizeof input.bytes - input.end);
    if (count <= 0)
        fail("read from the process manager", count < 0 ? strerror(errno) : "it has closed the connection");
    input.end += (size_t)count;
}

/* The next line without its newline; valid until the next call. */
static char *receive_line(void)
{
    char *newline;
    while (!(newline = memchr(input.bytes + input.start, '\n', input.end - input.start)))
        fill_input();
    char *line = input.bytes + input.start;
    *newline = '\0';
    input.start = (size_t)(newline + 1 - input.bytes);
    return line;
}

/* Sends a command and returns its answer, which must start with `cmd=<answer>`. */
static char *ask(const char *command, const char *answer)
{
    send_line(command);
    char *line = receive_line();
    size_t length = strlen(answer);
    if (strncmp(line, "cmd=", 4) || strncmp(line + 4, answer, length))
        fail("unexpected answer", line);
    const char *code = strstr(line, " rc=");
    if (code && atoi(code + 4) != 0)
        fail("refused", line);
    return line;
}

/* The text after ` name=`, up to the next space. */
static void copy_field(const char *line, const char *name, char *out, size_t room)
{
    const char *field = strstr(line, name);
    if (!field)
        fail("answer lacks a field", line);
    field += strlen(name);
    size_t length = strcspn(field, " ");
    if (length >= room)
        fail("answer too long", line);
    memcpy(out, field, length);
    out[length] = '\0';
}

/* Connects to PMI_PORT (address:port) and shows PMI_ID, by which the server knows this rank; what it says after that
 * is in the environment too. */
static void connect_to(const char *port)
{
    char address[INET_ADDRSTRLEN], line[LINE_ROOM];
    const char *colon = strrchr(port, ':');
    struct sockaddr_in server = { .sin_family = AF_INET, .sin_port = htons((uint16_t)(colon ? atoi(colon + 1) : 0)) };
    snprintf(address, sizeof address, "%.*s", (int)strcspn(port, ":"), port);
    if (inet_pton(AF_INET, address, &server.sin_addr) != 1)
        fail("PMI_PORT is not an IPv4 address and port", port);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&server, sizeof server) != 0)
        fail("connect to PMI_PORT", strerror(errno));
    int at_once = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
    snprintf(line, sizeof line, "cmd=initack pmiid=%d\n", number_from("PMI_ID"));
    ask(line, "initack");
    for (int i = 0; i < SET_LINES; i++)
        receive_line();
}

void layer_init(int *rank, int *size)
{
    const char *port = getenv("PMI_PORT");
    if (port && !getenv("PMI_FD"))
        connect_to(port);
    else
        fd = number_from("PMI_FD");
    *rank = number_from("PMI_RANK");
    *size = number_from("PMI_SIZE");
    ask("cmd=init pmi_version=1 pmi_subversion=1\n", "response_to_init");
    copy_field(ask("cmd=get_my_kvsname\n", "my_kvsname"), " kvsname=", kvsname, sizeof kvsname);
}

void layer_put(const char *key, const char *value)
{
    char line[LINE_ROOM];
    snprintf(line, sizeof line, "cmd=put kvsname=%s key=%s value=%s\n", kvsname, key, value);
    ask(line, "put_result");
}

void layer_commit(void)
{
    /* The wire protocol has no commit: each put is one. */
}

void layer_barrier(void)
{
    ask("cmd=barrier_in\n", "barrier_out");
}

void layer_get(const char *key, char *value, size_t room)
{
    char line[LINE_ROOM];
    snprintf(line, sizeof line, "cmd=get kvsname=%s key=%s\n", kvsname, key);
    copy_field(ask(line, "get_result"), " value=", value, room);
}

double layer_server_cpu(void)
{
    static int found;
    if (!found)
        server_cpu_find();
    found = 1;
    return server_cpu_ns();
}

void layer_finalize(void)
{
    ask("cmd=finalize\n", "finalize_ack");
}
