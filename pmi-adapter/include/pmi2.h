/*
 * pmi2.h - PMI-2, the process management interface, as provided by libpmi2.so.0 of pmi-adapter
 *
 * The ranks of a parallel program put (key, value) pairs, pass a fence, and then get the pairs of the others. Beside
 * the pairs there are attributes of the node, shared at once by the ranks of one node, and attributes of the job.
 *
 * Names, numbers, types and signatures are those of Slurm's pmi2.h, so a program built against either header runs with
 * either library.
 *
 * Rules that hold for every function:
 *   - It returns PMI2_SUCCESS or one of the codes below, and never prints to stdout. Behind PMI2_FAIL stands a line on
 *     stderr with the reason.
 *   - NULL or an over-long string gives the code that stands with the function, never a crash. Results are untouched
 *     then, except where stated.
 *   - Lengths are in bytes. The length of a buffer counts its terminating NUL. Nothing is cut short without a sign.
 *   - Any thread may call. Fences are taken one at a time. PMI2_Abort works while another thread stands in one.
 *   - Outside PMI2_Init and PMI2_Finalize, and in a child made by fork(), only PMI2_Init, PMI2_Finalize,
 *     PMI2_Initialized and PMI2_Abort work; the others return PMI2_ERR_INIT. The child cannot become a member.
 *   - A process uses this library or libpmi.so, not both: a job has each rank once. PMI2_Init fails and says so.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef PMI2_H_INCLUDED
#define PMI2_H_INCLUDED

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Longest key or name, and longest value. Whether the NUL counts is left open by this interface: here it does not, so
 * that both readings work. Where a program must also run elsewhere it should count it in: 63 and 1023 bytes.
 */
#define PMI2_MAX_KEYLEN 64
#define PMI2_MAX_VALLEN 1024
#define PMI2_MAX_ATTRVALUE 1024

/* No hint. */
#define PMI2_ID_NULL -1

/* ------------------------------------------------------------------------------------- Return codes */

#define PMI2_SUCCESS 0
#define PMI2_FAIL -1                  /* failed; the reason is on stderr                           */
#define PMI2_ERR_INIT 1               /* not initialised                                           */
#define PMI2_ERR_NOMEM 2
#define PMI2_ERR_INVALID_ARG 3        /* an argument is NULL or makes no sense                     */
#define PMI2_ERR_INVALID_KEY 4        /* the key or name is NULL, empty or too long                */
#define PMI2_ERR_INVALID_KEY_LENGTH 5
#define PMI2_ERR_INVALID_VAL 6        /* the value is NULL or too long                             */
#define PMI2_ERR_INVALID_VAL_LENGTH 7
#define PMI2_ERR_INVALID_LENGTH 8     /* the result does not fit                                   */
#define PMI2_ERR_INVALID_NUM_ARGS 9
#define PMI2_ERR_INVALID_ARGS 10
#define PMI2_ERR_INVALID_NUM_PARSED 11
#define PMI2_ERR_INVALID_KEYVALP 12
#define PMI2_ERR_INVALID_SIZE 13
#define PMI2_ERR_OTHER 14             /* there is no such key, or the value is not what was asked for */

/* --------------------------------------------------------------------------------------- Membership */

/*
 * Joins the job. *spawned: was the group spawned by another one? *size: number of ranks; *rank: 0 to *size - 1;
 * *appnum: number, from 0, of this process's command in a job of several.
 * Outside any job the process becomes rank 0 of 1, with *appnum -1, and everything works within it. In a job whose server
 * cannot be found or refuses, the call fails and says what to do. A further call answers the same. After PMI2_Finalize
 * a process outside any job may begin anew; a rank has left its job for good.
 * PMI2_ERR_INVALID_ARG: a pointer is NULL. PMI2_FAIL: bad environment, no server, refused, left, or a forked child.
 */
int PMI2_Init(int *spawned, int *size, int *rank, int *appnum);

/*
 * Leaves the job. A rank that ends without it counts as failed, and the job ends. Success, too, if there is nothing to
 * leave. PMI2_FAIL: the server did not hear of it, or this is a forked child.
 */
int PMI2_Finalize(void);

/* Non-zero between PMI2_Init and PMI2_Finalize. Any time. */
int PMI2_Initialized(void);

/*
 * Prints msg (may be NULL) to stderr and does not return. With a flag other than zero the whole job ends, and the
 * process exits with the flag, of which the system keeps the lowest 8 bits. With flag zero this process leaves the job
 * and exits with 0; the others go on, but cannot pass another fence. Any time, any thread.
 */
int PMI2_Abort(int flag, const char msg[]);

/* ----------------------------------------------------------------------------------------------- Ids */

/*
 * The job's id, the same on every rank. PMI2_ERR_INVALID_ARG: jobid is NULL. PMI2_ERR_INVALID_LENGTH: it does not fit;
 * 257 bytes always suffice.
 */
int PMI2_Job_GetId(char jobid[], int jobid_size);

/* This process's rank in the job. PMI2_ERR_INVALID_ARG: rank is NULL. */
int PMI2_Job_GetRank(int *rank);

/*
 * The number of ranks of the job. (Slurm's header says "on the node", but its library gives that of the job, and programs
 * rely on it. For the node see localRanksCount.) PMI2_ERR_INVALID_ARG: size is NULL.
 */
int PMI2_Info_GetSize(int *size);

/* ----------------------------------------------------------------------------------- Key-value pairs */

/*
 * Puts a pair. The caller sees it at once, the others after a fence. A later put of the same key replaces the value.
 * Values may hold any byte but NUL, and may be empty; keys may not be empty.
 * PMI2_ERR_INVALID_KEY, PMI2_ERR_INVALID_VAL: that argument is NULL, empty (key) or over-long. PMI2_FAIL: the job's log is
 * full, or the job is over.
 */
int PMI2_KVS_Put(const char key[], const char value[]);

/*
 * Returns when every rank of the job has called it; then all pairs put before are visible to all. Waits as long as
 * progress is possible, or PMI_TIMEOUT seconds. PMI2_FAIL: the job is over (a rank died or aborted), or the time is up.
 */
int PMI2_KVS_Fence(void);

/*
 * Gets the value of a key, at once: a missing key fails and is not waited for. jobid is NULL, empty, or this job's id;
 * src_pmi_id, the rank that has put the pair, is a hint, and not needed here.
 * *vallen becomes the length of the value. If the value and its NUL do not fit into maxvalue bytes, *vallen is the length
 * with a minus sign, value holds the beginning, and the call succeeds, as in Slurm's and MPICH's libraries.
 * PMI2_ERR_INVALID_ARG: vallen is NULL, or jobid over-long. PMI2_ERR_INVALID_KEY: key is NULL, empty or over-long.
 * PMI2_ERR_INVALID_VAL: value is NULL. PMI2_ERR_INVALID_LENGTH: maxvalue is below 1. PMI2_ERR_OTHER: there is no such key.
 * PMI2_FAIL: jobid is another job's.
 */
int PMI2_KVS_Get(const char *jobid, int src_pmi_id, const char key[], char value[], int maxvalue, int *vallen);

/* ----------------------------------------------------------------------- Attributes of node and job */

/*
 * Puts an attribute of the node: at once visible to the ranks on the same node, and to no others. A later put of the same
 * name replaces the value. All puts of a node together have 8 MiB; what is replaced keeps its place.
 * PMI2_ERR_INVALID_KEY, PMI2_ERR_INVALID_VAL: as with PMI2_KVS_Put. PMI2_FAIL: no room left, or the job is over.
 */
int PMI2_Info_PutNodeAttr(const char name[], const char value[]);

/*
 * Gets an attribute of the node. *found is zero if there is none; if waitfor is not zero, the call waits until a rank on
 * the node has put it, and *found is never zero. A wait that cannot end fails: the job is over, a rank of the node has
 * died, all others have left (or none was ever there), or PMI_TIMEOUT seconds have passed.
 * Predefined: localRanks, localRanksCount (see below), until a rank puts others. memPoolType and what belongs to it are not
 * provided.
 * PMI2_ERR_INVALID_KEY: name is NULL, empty or over-long. PMI2_ERR_INVALID_VAL: value is NULL. PMI2_ERR_INVALID_ARG: found
 * is NULL. PMI2_ERR_INVALID_LENGTH: the value does not fit. PMI2_FAIL: waited in vain.
 */
int PMI2_Info_GetNodeAttr(const char name[], char value[], int valuelen, int *found, int waitfor);

/*
 * Gets an attribute of the node that is a list of numbers separated by commas. *outlen becomes their number. Does not wait.
 * Predefined: localRanksCount, the number of ranks on this node; localRanks, those ranks, ascending.
 * PMI2_ERR_INVALID_KEY: name is NULL, empty or over-long. PMI2_ERR_INVALID_ARG: a pointer is NULL. PMI2_ERR_INVALID_LENGTH:
 * there are more than arraylen numbers; *outlen says how many. PMI2_ERR_OTHER: the value is not a list of numbers.
 */
int PMI2_Info_GetNodeAttrIntArray(const char name[], int array[], int arraylen, int *outlen, int *found);

/*
 * Gets an attribute of the job. Predefined: PMI_process_mapping, which says what node each rank is on, and universeSize, the
 * number of ranks that the job could have. What else a foreign PMI server provides is found, too.
 * Codes as with PMI2_Info_GetNodeAttr.
 */
int PMI2_Info_GetJobAttr(const char name[], char value[], int valuelen, int *found);

/* The same for a list of numbers, such as universeSize. Codes as with PMI2_Info_GetNodeAttrIntArray. */
int PMI2_Info_GetJobAttrIntArray(const char name[], int array[], int arraylen, int *outlen, int *found);

/* --------------------------------------------------------------------------------------------- Ring */

#define HAVE_PMIX_RING 1

/*
 * All ranks of the job stand in a ring, in the order of their ranks. Each gives a value; left becomes that of rank - 1, right
 * that of rank + 1. maxvalue counts the bytes of left and of right, and value must fit it too. *rank and *ranks become
 * this process's place in the ring and its size. Collective; a fence is part of it, so that pairs put before are visible
 * afterwards. Its pairs have keys that begin with PMIX_.
 * PMI2_ERR_INVALID_VAL: value is NULL or over-long. PMI2_ERR_INVALID_ARG: another pointer is NULL.
 * PMI2_ERR_INVALID_LENGTH: value, or (after the fence) that of a neighbour, does not fit. PMI2_FAIL: as PMI2_KVS_Fence.
 */
int PMIX_Ring(const char value[], int *rank, int *ranks, char left[], char right[], int maxvalue);

/* ---------------------------------------------------------- Other jobs, processes, names: not provided yet */

/* Talks with the leader of another job. read and write return 0 or an error code. isMaster: 1, 0, or -1 for neither. */
typedef struct PMI2_Connect_comm {
    int (*read)(void *buf, int maxlen, void *ctx);
    int (*write)(const void *buf, int len, void *ctx);
    void *ctx;
    int isMaster;
} PMI2_Connect_comm_t;

/*
 * Both check their arguments, then fail. PMI2_ERR_INVALID_ARG: a pointer is NULL, or jobid over-long. PMI2_FAIL: always,
 * otherwise.
 */
int PMI2_Job_Connect(const char jobid[], PMI2_Connect_comm_t *conn);
int PMI2_Job_Disconnect(const char jobid[]);

/* A (key, value) pair and the next one, or NULL. The first three members are of no concern here. */
typedef struct MPID_Info {
    int handle;
    int pobj_mutex;
    int ref_count;
    struct MPID_Info *next;
    char *key;
    char *value;
} MPID_Info;

#define PMI2U_Info MPID_Info

/*
 * Checks its arguments, fills errors (may be NULL) with PMI2_FAIL, then fails. argcs, argvs and the infos may be NULL.
 * PMI2_ERR_INVALID_ARG: count below 1, cmds, one of them, maxprocs or jobId NULL, a maxprocs below 1, or a size that is
 * negative or has no array. PMI2_FAIL: always, otherwise.
 */
int PMI2_Job_Spawn(int count, const char *cmds[], int argcs[], const char **argvs[], const int maxprocs[],
                   const int info_keyval_sizes[], const struct MPID_Info *info_keyval_vectors[],
                   int preput_keyval_size, const struct MPID_Info *preput_keyval_vector[], char jobId[],
                   int jobIdSize, int errors[]);

/*
 * All three check their arguments, then fail. info_ptr may be NULL. PMI2_ERR_INVALID_ARG: another pointer is NULL.
 * PMI2_FAIL: always, otherwise.
 */
int PMI2_Nameserv_publish(const char service_name[], const struct MPID_Info *info_ptr, const char port[]);
int PMI2_Nameserv_lookup(const char service_name[], const struct MPID_Info *info_ptr, char port[], int portLen);
int PMI2_Nameserv_unpublish(const char service_name[], const struct MPID_Info *info_ptr);

#ifdef __cplusplus
}
#endif

#endif
