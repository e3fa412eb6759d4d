/* A small MPI program: a token goes once around all ranks, then all ranks add their numbers up. Rank 0 prints
 * which rank ran where and how long MPI_Init took, that is, how long the ranks needed to find each other.
 *
 *   mpicc -o ring ring.c && pmi-ssh -n 4 ./ring
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { HOST_ROOM = 256, TOKEN_TAG = 1 };

/* Where a rank runs. */
struct place {
    char host[HOST_ROOM];
    int pid;
};

static double now_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static struct place find_place(void)
{
    struct place place = {.pid = (int)getpid()};
    gethostname(place.host, sizeof place.host - 1);
    return place;
}

/* Sends a counter around the ring; each rank adds one. Returns what came back, on rank 0. */
static int pass_token(int rank, int size)
{
    int token = 1;
    if (size == 1)
        return token;
    if (rank > 0) {
        MPI_Recv(&token, 1, MPI_INT, rank - 1, TOKEN_TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        token++;
    }
    MPI_Send(&token, 1, MPI_INT, (rank + 1) % size, TOKEN_TAG, MPI_COMM_WORLD);
    if (rank == 0)
        MPI_Recv(&token, 1, MPI_INT, size - 1, TOKEN_TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    return token;
}

static int add_ranks(int rank)
{
    int sum = 0;
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    return sum;
}

static void print_places(int rank, int size)
{
    struct place mine = find_place();
    struct place *all = rank == 0 ? malloc((size_t)size * sizeof *all) : NULL;
    MPI_Gather(&mine, sizeof mine, MPI_BYTE, all, sizeof mine, MPI_BYTE, 0, MPI_COMM_WORLD);
    for (int other = 0; rank == 0 && other < size; other++)
        printf("rank %d of %d ran on %s as process %d\n", other, size, all[other].host, all[other].pid);
    free(all);
}

int main(int argc, char **argv)
{
    double before = now_ms(), wire_up, slowest;
    MPI_Init(&argc, &argv);
    wire_up = now_ms() - before;

    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    int token = pass_token(rank, size), sum = add_ranks(rank);
    MPI_Reduce(&wire_up, &slowest, 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
    print_places(rank, size);

    int wrong = rank == 0 && token != size, bad_sum = sum != size * (size - 1) / 2;
    if (rank == 0) {
        printf("ring: the token passed %d ranks%s\n", token, wrong ? ", WRONG" : "");
        printf("allreduce: the sum of all ranks is %d%s\n", sum, bad_sum ? ", WRONG" : "");
        printf("wire-up: MPI_Init took %.1f ms on the slowest rank\n", slowest);
    }
    MPI_Finalize();
    return wrong || bad_sum;
}
