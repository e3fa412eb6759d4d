/* Process creation and names: arguments are checked, then the call fails. */
#include "conform.h"

int main(void)
{
    const char *commands[] = {"/bin/true"}, *arguments[] = {NULL}, **vectors[] = {arguments};
    const PMI_keyval_t *infos[] = {NULL};
    int processes[] = {1}, info_sizes[] = {0}, errors[1] = {7}, spawned;
    NEED(PMI_Init(&spawned) == PMI_SUCCESS);
    SHOW(PMI_Spawn_multiple(1, commands, vectors, processes, info_sizes, infos, 0, NULL, errors));
    SHOW(PMI_Spawn_multiple(1, NULL, vectors, processes, info_sizes, infos, 0, NULL, errors));
    SHOW(PMI_Spawn_multiple(0, commands, vectors, processes, info_sizes, infos, 0, NULL, errors));
    SHOW(PMI_Spawn_multiple(1, commands, NULL, processes, NULL, NULL, 0, NULL, NULL));
    SHOW(PMI_Spawn_multiple(1, commands, vectors, NULL, info_sizes, infos, 0, NULL, errors));
    SHOW(PMI_Spawn_multiple(1, commands, vectors, processes, info_sizes, infos, 1, NULL, errors));
    SHOW(PMI_Publish_name("service", "port"));
    SHOW(PMI_Finalize());
    return 0;
}
