/* See server_cpu.h. */
#include "server_cpu.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PATH_ROOM = 64, LINE_ROOM = 512 };

static const char bridge[] = "pmi-bridge";
static pid_t server;

/* The line of /proc/PID/stat; an empty one when the process has ended. */
static void read_stat(pid_t pid, char *line)
{
    char path[PATH_ROOM];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    line[0] = '\0';
    if (file && !fgets(line, LINE_ROOM, file))
        line[0] = '\0';
    if (file)
        fclose(file);
}

/* The line is `PID (NAME) STATE PARENT …`. */
static int is_bridge_of(pid_t pid, pid_t parent)
{
    char line[LINE_ROOM];
    read_stat(pid, line);
    const char *name = strchr(line, '('), *end = strrchr(line, ')');
    if (!name || !end || (size_t)(end - name - 1) != strlen(bridge) || strncmp(name + 1, bridge, strlen(bridge)))
        return 0;
    int found = 0;
    return sscanf(end + 1, " %*c %d", &found) == 1 && found == (int)parent;
}

void server_cpu_find(void)
{
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    server = getppid();
    while (processes && (entry = readdir(processes)))
        if (isdigit((unsigned char)entry->d_name[0]) && is_bridge_of(atoi(entry->d_name), getppid()))
            server = atoi(entry->d_name);
    if (processes)
        closedir(processes);
}

double server_cpu_ns(void)
{
    clockid_t clock;
    struct timespec used;
    if (clock_getcpuclockid(server, &clock) != 0 || clock_gettime(clock, &used) != 0)
        return 0;
    return (double)used.tv_sec * 1e9 + (double)used.tv_nsec;
}
