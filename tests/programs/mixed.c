/* A rank with libpmi.so.0 in a job whose other rank speaks the wire protocol itself: each gets what the other has
 * put, over ten barriers, so that either may be the last to come.
 *
 * usage: mixed */
#include "program.h"

#include <unistd.h>

enum { ROUNDS = 10 };

int main(void)
{
    join();
    for (int round = 0; round < ROUNDS; round++) {
        char key[32], value[64];
        snprintf(key, sizeof key, "library-%d", round);
        snprintf(value, sizeof value, "from the library %d", round);
        expect(PMI_KVS_Put(kvsname, key, value), PMI_SUCCESS);
        if (round % 2)
            usleep(2000);
        commit_and_wait(kvsname);
        snprintf(key, sizeof key, "wire-%d", round);
        snprintf(value, sizeof value, "from the wire %d", round);
        char found[1024];
        expect(PMI_KVS_Get(kvsname, key, found, sizeof found), PMI_SUCCESS);
        if (strcmp(found, value))
            expect_text(found, value, key);
    }
    expect(PMI_Finalize(), PMI_SUCCESS);
    return 0;
}
