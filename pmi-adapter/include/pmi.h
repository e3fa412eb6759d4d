/*
 * pmi.h - PMI-1, the process management interface, as provided by libpmi.so.0 of pmi-adapter
 *
 * A parallel program's processes, its ranks, find one another through PMI: each puts a few (key, value) pairs
 * into a key-value space, commits them, waits in a barrier, and then gets the pairs of the others.
 *
 * Names, numbers and signatures are those of Slurm's pmi.h, so a program built against either header runs with
 * either library. Four functions near the end follow the draft paper "Process Management in MPICH" where its
 * names differ. The PMIX_ functions at the end are extensions, which other libraries may lack.
 *
 * Rules that hold for every function:
 *   - It returns PMI_SUCCESS or one of the codes below, and never prints to stdout. Behind PMI_FAIL stands a
 *     line on stderr with the reason, unless PMI was simply not initialised.
 *   - NULL, an over-long string or an unknown name gives the code that stands with the function, never a crash.
 *     Results are untouched then, except where stated.
 *   - Lengths are in bytes. The length of a buffer counts its terminating NUL; the length of a key, value or
 *     kvsname does not. Nothing is ever cut short: what does not fit is an error.
 *   - Any thread may call. Barriers are taken one at a time. PMI_Abort works while another thread stands
 *     in a barrier.
 *   - Between PMI_Init and PMI_Finalize the process is a member of its job. Outside, only PMI_Init,
 *     PMI_Initialized, PMI_Finalize, PMI_Abort, the ..._length_max functions and the command-line functions
 *     work; the others return PMI_FAIL, or the code for a wrong kvsname where they take one. The same holds
 *     in a child made by fork(): it is no member, and cannot become one.
 *   - A process uses this library or libpmi2.so, not both: a job has each rank once. PMI_Init fails and says so.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef PMI_H
#define PMI_H

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------- Return codes */

#define PMI_SUCCESS 0
#define PMI_FAIL (-1)                /* failed; the reason is on stderr                              */
#define PMI_ERR_INIT 1               /* not initialised (never returned here: PMI_FAIL is)           */
#define PMI_ERR_NOMEM 2              /* the buffer of PMI_Get_options is too small                   */
#define PMI_ERR_INVALID_ARG 3        /* an argument is NULL or makes no sense                        */
#define PMI_ERR_INVALID_KEY 4        /* the key is NULL, empty or too long, or there is none such    */
#define PMI_ERR_INVALID_KEY_LENGTH 5 /* the key does not fit into the buffer                         */
#define PMI_ERR_INVALID_VAL 6        /* the value is NULL or too long                                */
#define PMI_ERR_INVALID_VAL_LENGTH 7 /* the value does not fit into the buffer of an iteration       */
#define PMI_ERR_INVALID_LENGTH 8     /* the result does not fit into the buffer                      */
#define PMI_ERR_INVALID_NUM_ARGS 9   /* a negative number of command-line arguments                  */
#define PMI_ERR_INVALID_ARGS 10      /* the command-line arguments are, or one of them is, NULL      */
#define PMI_ERR_INVALID_NUM_PARSED 11
#define PMI_ERR_INVALID_KEYVALP 12
#define PMI_ERR_INVALID_SIZE 13
#define PMI_ERR_INVALID_KVS 14       /* there is no such key-value space                             */

typedef int PMI_BOOL;
#define PMI_TRUE 1
#define PMI_FALSE 0

/* --------------------------------------------------------------------------------------- Membership */

/*
 * Joins the job. *spawned becomes PMI_TRUE if the process group was spawned by another one.
 * Outside any job the process becomes rank 0 of 1, and everything works within it. In a job of several ranks
 * whose server cannot be found or refuses, the call fails and says what to do. It may wait for the server.
 * A further call changes nothing and answers the same. After PMI_Finalize a process outside any job may begin
 * anew; a rank has left its job for good.
 * PMI_ERR_INVALID_ARG: spawned is NULL. PMI_FAIL: bad environment, no server, refused, left, or a forked child.
 */
int PMI_Init(int *spawned);

/*
 * Sets *initialized to PMI_TRUE between PMI_Init and PMI_Finalize, else to PMI_FALSE. Any time.
 * PMI_ERR_INVALID_ARG: initialized is NULL.
 */
int PMI_Initialized(PMI_BOOL *initialized);

/*
 * Leaves the job. A rank that ends without it counts as failed, and the job ends. Success, too, if there
 * is nothing to leave. PMI_FAIL: the server did not hear of it, or this is a forked child.
 */
int PMI_Finalize(void);

/*
 * Ends the whole job: prints error_msg (may be NULL) to stderr, makes every other rank fail, and exits with
 * exit_code, of which the system keeps the lowest 8 bits. Any time, any thread. Does not return.
 */
int PMI_Abort(int exit_code, const char error_msg[]);

/* ------------------------------------------------------------------------------------ Process group */

/* The number of ranks, at least 1. PMI_ERR_INVALID_ARG: size is NULL. PMI_FAIL: no member. */
int PMI_Get_size(int *size);

/* This process's rank: 0 to size - 1. PMI_ERR_INVALID_ARG: rank is NULL. PMI_FAIL: no member. */
int PMI_Get_rank(int *rank);

/*
 * The number of ranks that the job could have, spawned ones included: the starter's PMI_UNIVERSE_SIZE, else
 * the size. PMI_ERR_INVALID_ARG: size is NULL. PMI_FAIL: no member.
 */
int PMI_Get_universe_size(int *size);

/*
 * The number, from 0, of this process's command in a job of several commands.
 * PMI_ERR_INVALID_ARG: appnum is NULL. PMI_FAIL: no member.
 */
int PMI_Get_appnum(int *appnum);

/*
 * The number of ranks on this node, itself included. Where nobody tells the placement, 1: a rank is always
 * on its own node. PMI_ERR_INVALID_ARG: size is NULL. PMI_FAIL: no member.
 */
int PMI_Get_clique_size(int *size);

/*
 * The ranks on this node in ascending order. length counts the elements of ranks.
 * PMI_ERR_INVALID_ARG: ranks is NULL. PMI_ERR_INVALID_LENGTH: fewer elements than PMI_Get_clique_size says.
 * PMI_FAIL: no member.
 */
int PMI_Get_clique_ranks(int ranks[], int length);

/*
 * A string that names the process group (the kvsname), and the same for the domain in which key-value spaces
 * are shared. PMI_ERR_INVALID_ARG: id_str is NULL. PMI_ERR_INVALID_LENGTH: it does not fit. PMI_FAIL: no member.
 */
int PMI_Get_id(char id_str[], int length);
int PMI_Get_kvs_domain_id(char id_str[], int length);

/* Room that always suffices for the two above: 256. Any time. PMI_ERR_INVALID_ARG: length is NULL. */
int PMI_Get_id_length_max(int *length);

/*
 * Returns when every rank of the group has called it; then everything committed before is visible to all.
 * Waits as long as progress is possible, or PMI_TIMEOUT seconds. PMI_FAIL: no member, the job is over (a rank
 * died or aborted), or the time is up.
 */
int PMI_Barrier(void);

/* --------------------------------------------------------------------------------- Key-value spaces */

/* The longest kvsname: 256 bytes. Any time. PMI_ERR_INVALID_ARG: length is NULL. */
int PMI_KVS_Get_name_length_max(int *length);

/* The longest key: 256 bytes. Any time. PMI_ERR_INVALID_ARG: length is NULL. */
int PMI_KVS_Get_key_length_max(int *length);

/* The longest value: 1024 bytes. Any time. PMI_ERR_INVALID_ARG: length is NULL. */
int PMI_KVS_Get_value_length_max(int *length);

/*
 * The kvsname of the space that the group has from the start, the same on every rank.
 * PMI_ERR_INVALID_ARG: kvsname is NULL. PMI_ERR_INVALID_LENGTH: it does not fit. PMI_FAIL: no member.
 */
int PMI_KVS_Get_my_name(char kvsname[], int length);

/*
 * Makes a space. Not collective: one rank calls it and tells the others the name, who can use it at once.
 * A buffer of the announced maximum always suffices.
 * PMI_ERR_INVALID_ARG: kvsname is NULL. PMI_ERR_INVALID_LENGTH: a name might not fit. PMI_FAIL: no member, or
 * the log is full.
 */
int PMI_KVS_Create(char kvsname[], int length);

/*
 * Ends a space made by PMI_KVS_Create: at once for the caller, at the next barrier for the others.
 * PMI_ERR_INVALID_ARG: NULL, over-long or unknown, or the group's own space, which cannot be ended.
 */
int PMI_KVS_Destroy(const char kvsname[]);

/*
 * Puts a pair. The caller sees it at once; the others after its commit and a barrier. A later put of the same
 * key replaces the value. Values may hold any byte but NUL, and may be empty; keys may not be empty.
 * PMI_ERR_INVALID_KVS, PMI_ERR_INVALID_KEY, PMI_ERR_INVALID_VAL: that argument is NULL, over-long or unknown.
 * PMI_FAIL: the log has reached its ceiling (PMI_KVS_LOG_CEILING).
 */
int PMI_KVS_Put(const char kvsname[], const char key[], const char value[]);

/*
 * Hands over what this rank has put into the space. Local: it does not wait for other ranks.
 * PMI_ERR_INVALID_ARG: NULL, over-long or unknown. PMI_FAIL: no member, or the job is over.
 */
int PMI_KVS_Commit(const char kvsname[]);

/*
 * Gets the value of a key, at once: a missing key fails and is not waited for.
 * PMI_ERR_INVALID_KVS: kvsname is NULL, over-long or unknown. PMI_ERR_INVALID_KEY: key is NULL or over-long, or
 * has no value. PMI_ERR_INVALID_VAL: value is NULL. PMI_ERR_INVALID_LENGTH: the value does not fit.
 */
int PMI_KVS_Get(const char kvsname[], const char key[], char value[], int length);

/*
 * Iteration over a space, in no promised order. The end is an empty key, with PMI_SUCCESS. The process has one
 * iterator per space. A pair that does not fit is not passed by: a call with larger buffers returns it.
 * PMI_ERR_INVALID_KVS: kvsname is NULL, over-long or unknown. PMI_ERR_INVALID_KEY, PMI_ERR_INVALID_VAL: that
 * buffer is NULL. PMI_ERR_INVALID_KEY_LENGTH, PMI_ERR_INVALID_VAL_LENGTH: that buffer is too short.
 * PMI_FAIL: PMI_KVS_Iter_next before PMI_KVS_Iter_first.
 */
int PMI_KVS_Iter_first(const char kvsname[], char key[], int key_len, char val[], int val_len);
int PMI_KVS_Iter_next(const char kvsname[], char key[], int key_len, char val[], int val_len);

/* ------------------------------------------------------------------------ Processes, names, options */

/* A (key, value) pair outside a space. Either may be NULL. */
typedef struct PMI_keyval_t {
    char *key;
    char *val;
} PMI_keyval_t;

/*
 * Creates processes: not provided yet. The arguments are checked, errors (may be NULL) is filled with PMI_FAIL.
 * PMI_ERR_INVALID_ARG: count below 1, cmds, one of them or maxprocs NULL, a maxprocs below 1, or a size that is
 * negative or has no array. PMI_FAIL: always, otherwise.
 */
int PMI_Spawn_multiple(int count, const char *cmds[], const char **argvs[], const int maxprocs[],
                       const int info_keyval_sizesp[], const PMI_keyval_t *info_keyval_vectors[],
                       int preput_keyval_size, const PMI_keyval_t preput_keyval_vector[],
                       int errors[]);

/*
 * Publishing, withdrawing and looking up the port of a service: not provided yet.
 * PMI_ERR_INVALID_ARG: an argument is NULL. PMI_FAIL: always, otherwise.
 */
int PMI_Publish_name(const char service_name[], const char port[]);
int PMI_Unpublish_name(const char service_name[]);
int PMI_Lookup_name(const char service_name[], char port[]);

/*
 * Reads the leading arguments of the form PMI_<name>=<value>. *num_parsed and *size become their number,
 * *keyvalp an array for PMI_Free_keyvals, or NULL if there are none. Any time.
 * PMI_ERR_INVALID_NUM_ARGS: negative. PMI_ERR_INVALID_ARGS: args or one of them is NULL.
 * PMI_ERR_INVALID_NUM_PARSED, PMI_ERR_INVALID_KEYVALP, PMI_ERR_INVALID_SIZE: that pointer is NULL.
 */
int PMI_Parse_option(int num_args, char *args[], int *num_parsed, PMI_keyval_t **keyvalp, int *size);

/*
 * Turns a command line into pairs and leaves it as it is: a first word without a dash becomes a value with
 * a NULL key; each word with a dash becomes a key, whose value is the word after it, or NULL if that has a
 * dash or is missing. Any time. The array is for PMI_Free_keyvals.
 * PMI_ERR_INVALID_ARG: a pointer or word is NULL, there is no word, or one belongs to no key.
 */
int PMI_Args_to_keyval(int *argcp, char *((*argvp)[]), PMI_keyval_t **keyvalp, int *size);

/*
 * Frees an array from the two functions above, with the size that they gave. NULL with size 0 is fine.
 * PMI_ERR_INVALID_ARG: a negative size, or NULL with another size than 0.
 */
int PMI_Free_keyvals(PMI_keyval_t keyvalp[], int size);

/*
 * A text for the user about the arguments that PMI_Parse_option knows. *length is the room in str before, and the
 * room that the text needs afterwards. Any time.
 * PMI_ERR_INVALID_ARG: NULL. PMI_ERR_INVALID_LENGTH: *length is below 1. PMI_ERR_NOMEM: too small; str then holds
 * the beginning of the text.
 */
int PMI_Get_options(char *str, int *length);

/* -------------------------------------------------------------------------- Names of the draft paper */

/*
 * As PMI_KVS_Iter_first and PMI_KVS_Iter_next, with buffers of the announced maxima: key of
 * PMI_KVS_Get_key_length_max bytes, val of PMI_KVS_Get_value_length_max bytes. A pair that needs more, as its
 * NUL may do, is PMI_ERR_INVALID_KEY_LENGTH or PMI_ERR_INVALID_VAL_LENGTH.
 */
int PMI_KVS_iter_first(const char *kvsname, char *key, char *val);
int PMI_KVS_iter_next(const char *kvsname, char *key, char *val);

/*
 * Creates processes of one command: not provided yet.
 * PMI_ERR_INVALID_ARG: cmd or spawned_kvsname is NULL, or maxprocs below 1. PMI_FAIL: always, otherwise.
 */
int PMI_Spawn(const char *cmd, const char *argv[], const int maxprocs, char *spawned_kvsname,
              const int kvsnamelen);

/*
 * Takes the arguments that this library keeps for itself out of a command line and into an info object. There
 * are none: the command line stays as it is, and infop, whose type only the caller knows, is not touched.
 * PMI_ERR_INVALID_ARG: a pointer to the command line or one of its words is NULL, or *argcp negative.
 */
int PMI_Args_to_info(int *argcp, char ***argvp, void *infop);

/* --------------------------------------------------------------------------- Extensions: split barriers */

/*
 * A barrier in two halves, with other work in between, after "Non-blocking PMI Extensions for Fast MPI Startup"
 * (Chakraborty et al., CCGrid 2015). PMI_HAVE_SPLIT_BARRIER tells a program that they are there.
 *
 * A rank has one request under way. Whatever enters another barrier (PMI_Barrier, PMIX_Ibarrier, PMIX_Iallgather) and
 * PMI_Finalize complete it first, for which they wait. So all ranks pass the same barriers in the same order, and each may
 * pass each of them whole or split: PMI_Barrier is PMIX_Ibarrier and PMIX_Wait. Pairs are exchanged without waiting with
 * PMI_KVS_Put, PMI_KVS_Commit and PMIX_Ibarrier; after PMIX_Wait they are there. Pairs that a rank commits between the two
 * may be visible after this barrier, and are visible after the next.
 *
 * The library has no thread. To enter is a mark in shared memory, which stays when the rank goes. What happens while no rank
 * of a node is inside the library: the last rank of the node to enter sends word to the server, once, before it returns; if
 * all ranks of the job are on one node, the barrier opens there and then. What does not: a datagram that got lost is
 * repeated, and the server's answer taken in, as soon as a rank of the node calls PMIX_Wait or PMIX_Test, and large exchanges
 * (above some tens of kilobytes per node) are sent on and fetched only then. Where the number of ranks on the node is not
 * known to the library, each rank sends word as it enters.
 */
#define PMI_HAVE_SPLIT_BARRIER 1

typedef int PMIX_Request;
#define PMIX_REQUEST_NULL 0

/*
 * Enters a barrier. PMI_ERR_INVALID_ARG: request is NULL. PMI_FAIL: no member, or the job is over; then no request is
 * made.
 */
int PMIX_Ibarrier(PMIX_Request *request);

/*
 * Puts value and enters a barrier. When the request is complete, buffer holds the values of all ranks: that of rank r at
 * buffer + r * maxvalue, with its NUL. So buffer has room for size * maxvalue bytes, and belongs to the library until the
 * request is complete. Its pairs have keys that begin with PMIX_.
 * PMI_ERR_INVALID_ARG: request or buffer is NULL. PMI_ERR_INVALID_VAL: value is NULL or over-long. PMI_ERR_INVALID_LENGTH:
 * maxvalue is below 1, or value does not fit. PMI_FAIL: no member, the log is full, or the job is over; then no
 * request is made.
 */
int PMIX_Iallgather(const char value[], char buffer[], int maxvalue, PMIX_Request *request);

/*
 * Waits until the request is complete, as PMI_Barrier does, and says how it ended. To wait again, or for PMIX_REQUEST_NULL,
 * returns at once. PMI_ERR_INVALID_ARG: no such request. PMI_ERR_INVALID_LENGTH: a value did not fit into the buffer of
 * PMIX_Iallgather. PMI_FAIL: no member, the job is over (a rank died or aborted), or the time is up.
 */
int PMIX_Wait(PMIX_Request request);

/*
 * Sets *flag to PMI_TRUE if the request is complete, and then says how it ended as PMIX_Wait does; else to PMI_FALSE. Every few
 * milliseconds it looks for the server's answer, for a millisecond at most, so that a rank that does nothing but ask
 * gets it. PMI_ERR_INVALID_ARG: flag is NULL, or no such request. PMI_FAIL: no member, or the job is over.
 */
int PMIX_Test(PMIX_Request request, PMI_BOOL *flag);

#ifdef __cplusplus
}
#endif

#endif
