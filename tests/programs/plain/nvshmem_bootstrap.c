/* Does with a bootstrap plugin of NVSHMEM what NVSHMEM does with it at its start: lets it join the job, then
 * gathers from all, sends to each and waits for all, with lengths that fit one key-value pair and lengths that do
 * not. Needs no GPU. Every rank checks what it gets.
 *
 * usage: nvshmem_bootstrap <plugin> <expected number of ranks>
 * Rank 0 prints a line at the end. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The plugins' interface version 3.0: the part of the handle that callers read. The plugin fills it in; what
 * follows is there for its own use and for later versions, which may only append. */
struct bootstrap {
    int version;
    int rank;
    int size;
    int rank_on_node;
    int ranks_on_node;
    int (*allgather)(const void *mine, void *all, int bytes, struct bootstrap *);
    int (*alltoall)(const void *mine, void *all, int bytes, struct bootstrap *);
    int (*barrier)(struct bootstrap *);
    void (*global_exit)(int status);
    int (*finalize)(struct bootstrap *);
    void *reserved[64];
};

typedef int plugin_init(void *attributes, struct bootstrap *handle, int interface_version);

enum { INTERFACE_VERSION = 30000, LENGTHS = 5 };

static const int lengths[LENGTHS] = {1, 31, 256, 1000, 5000};
static struct bootstrap handle;

static void expect(int right, const char *what, int bytes)
{
    if (right)
        return;
    fprintf(stderr, "nvshmem_bootstrap: rank %d of %d: wrong result of %s, %d bytes\n", handle.rank, handle.size,
            what, bytes);
    exit(1);
}

static plugin_init *load(const char *plugin)
{
    void *library = dlopen(plugin, RTLD_NOW | RTLD_LOCAL);
    void *symbol = library ? dlsym(library, "nvshmemi_bootstrap_plugin_init") : NULL;
    if (!symbol) {
        fprintf(stderr, "nvshmem_bootstrap: %s\n", dlerror());
        exit(1);
    }
    plugin_init *init;
    memcpy(&init, &symbol, sizeof init);
    return init;
}

/* Byte number i of what one rank sends to another; to itself in an allgather. */
static unsigned char byte_of(int from, int to, int i)
{
    return (unsigned char)(from * 31 + to * 7 + i);
}

static unsigned char *room_for(int bytes)
{
    unsigned char *room = calloc((size_t)handle.size, (size_t)bytes);
    expect(room != NULL, "calloc", bytes);
    return room;
}

static void gather_from_all(int bytes)
{
    unsigned char *mine = room_for(bytes), *all = room_for(bytes);
    for (int i = 0; i < bytes; i++)
        mine[i] = byte_of(handle.rank, handle.rank, i);
    expect(handle.allgather(mine, all, bytes, &handle) == 0, "allgather", bytes);
    for (int from = 0; from < handle.size; from++)
        for (int i = 0; i < bytes; i++)
            expect(all[from * bytes + i] == byte_of(from, from, i), "allgather", bytes);
    free(mine);
    free(all);
}

static void send_to_each(int bytes)
{
    unsigned char *mine = room_for(bytes), *all = room_for(bytes);
    for (int to = 0; to < handle.size; to++)
        for (int i = 0; i < bytes; i++)
            mine[to * bytes + i] = byte_of(handle.rank, to, i);
    expect(handle.alltoall(mine, all, bytes, &handle) == 0, "alltoall", bytes);
    for (int from = 0; from < handle.size; from++)
        for (int i = 0; i < bytes; i++)
            expect(all[from * bytes + i] == byte_of(from, handle.rank, i), "alltoall", bytes);
    free(mine);
    free(all);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: nvshmem_bootstrap <plugin> <expected number of ranks>\n");
        return 2;
    }
    plugin_init *init = load(argv[1]);
    if (init(NULL, &handle, INTERFACE_VERSION) != 0) {
        fprintf(stderr, "nvshmem_bootstrap: the plugin does not find its process manager\n");
        return 1;
    }
    expect(handle.size == atoi(argv[2]), "counting the ranks", 0);
    for (int i = 0; i < LENGTHS; i++) {
        gather_from_all(lengths[i]);
        send_to_each(lengths[i]);
        expect(handle.barrier(&handle) == 0, "barrier", 0);
    }
    if (handle.rank == 0)
        printf("nvshmem_bootstrap: %d ranks, all results right\n", handle.size);
    fflush(stdout);
    expect(handle.finalize(&handle) == 0, "finalize", 0);
    return 0;
}
