/* libpmi.so.0 and libpmi2.so.0 in one process: the second to join is refused, and the first is not harmed. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static void *symbol(const char *library, const char *name)
{
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL), *found = handle ? dlsym(handle, name) : NULL;
    if (found == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(99);
    }
    return found;
}

int main(void)
{
    int number[4];
    int (*init2)(int *, int *, int *, int *), (*fence)(void), (*finalize)(void), (*init1)(int *);
    *(void **)&init2 = symbol("libpmi2.so.0", "PMI2_Init");
    *(void **)&fence = symbol("libpmi2.so.0", "PMI2_KVS_Fence");
    *(void **)&finalize = symbol("libpmi2.so.0", "PMI2_Finalize");
    *(void **)&init1 = symbol("libpmi.so.0", "PMI_Init");
    int first = init2(&number[0], &number[1], &number[2], &number[3]);
    int second = init1(&number[0]);
    int passed = fence() | fence() | finalize();
    printf("first %d, second %d, then %d\n", first, second, passed);
    return 0;
}
