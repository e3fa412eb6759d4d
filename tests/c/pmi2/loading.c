/* The library is loaded, used and unloaded three times: no descriptor, thread or mapping of it stays. */
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static int entries(const char *directory)
{
    int count = 0;
    DIR *open = opendir(directory);
    if (open == NULL)
        return -1;
    while (readdir(open) != NULL)
        count++;
    closedir(open);
    return count;
}

static int mapped(void)
{
    char line[1024];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
        count += strstr(line, "libpmi2.so") != NULL;
    if (maps != NULL)
        fclose(maps);
    return count;
}

static int use(void)
{
    void *library = dlopen("libpmi2.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return fprintf(stderr, "%s\n", dlerror()), -1;
    int (*init)(int *, int *, int *, int *), (*fence)(void), (*finalize)(void), number[4];
    *(void **)&init = dlsym(library, "PMI2_Init");
    *(void **)&fence = dlsym(library, "PMI2_KVS_Fence");
    *(void **)&finalize = dlsym(library, "PMI2_Finalize");
    int code = init(&number[0], &number[1], &number[2], &number[3]) | fence() | finalize();
    return code | dlclose(library);
}

int main(void)
{
    int descriptors = entries("/proc/self/fd"), threads = entries("/proc/self/task");
    for (int round = 1; round <= 3; round++)
        printf("round %d: code %d\n", round, use());
    printf("descriptors left: %d\n", entries("/proc/self/fd") - descriptors);
    printf("threads left: %d\n", entries("/proc/self/task") - threads);
    printf("mapped: %s\n", mapped() ? "yes" : "no");
    return 0;
}
