/* A small MPI program that uses what most programs use: a sum over all ranks, short and long; one number to each
 * other rank; a long message around the ring, which takes the rendezvous path. Every rank checks what it gets.
 *
 * usage: hello <expected number of ranks>
 * Rank 0 prints a line at the end. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { LONG_COUNT = 1 << 15, RING_TAG = 1 };

static int rank, size;

static void expect(int right, const char *what)
{
    if (right)
        return;
    fprintf(stderr, "hello: rank %d of %d: wrong result of %s\n", rank, size, what);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static int *numbers(int count, int start, int step)
{
    int *all = malloc((size_t)count * sizeof *all);
    expect(all != NULL, "malloc");
    for (int i = 0; i < count; i++)
        all[i] = start + i * step;
    return all;
}

static void check_numbers(const int *found, int count, int start, int step, const char *what)
{
    for (int i = 0; i < count; i++)
        expect(found[i] == start + i * step, what);
}

/* Element i of rank r is r + i. */
static void sum_over_all(int count)
{
    int *mine = numbers(count, rank, 1), *sum = numbers(count, 0, 0);
    MPI_Allreduce(mine, sum, count, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    check_numbers(sum, count, size * (size - 1) / 2, size, "MPI_Allreduce");
    free(mine);
    free(sum);
}

/* Rank r sends r * size + i to rank i. */
static void one_number_to_each(void)
{
    int *mine = numbers(size, rank * size, 1), *theirs = numbers(size, 0, 0);
    MPI_Alltoall(mine, 1, MPI_INT, theirs, 1, MPI_INT, MPI_COMM_WORLD);
    check_numbers(theirs, size, rank, size, "MPI_Alltoall");
    free(mine);
    free(theirs);
}

static void long_message_around_the_ring(void)
{
    int next = (rank + 1) % size, previous = (rank + size - 1) % size;
    int *mine = numbers(LONG_COUNT, rank, 3), *theirs = numbers(LONG_COUNT, 0, 0);
    MPI_Sendrecv(mine, LONG_COUNT, MPI_INT, next, RING_TAG, theirs, LONG_COUNT, MPI_INT, previous, RING_TAG,
                 MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    check_numbers(theirs, LONG_COUNT, previous, 3, "MPI_Sendrecv");
    free(mine);
    free(theirs);
}

/* Ranks that MPI takes to be on this rank's node. */
static int ranks_on_this_node(void)
{
    MPI_Comm node;
    int count;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    MPI_Comm_size(node, &count);
    MPI_Comm_free(&node);
    return count;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    expect(argc == 2 && atoi(argv[1]) == size, "MPI_Comm_size");
    sum_over_all(1);
    sum_over_all(LONG_COUNT);
    one_number_to_each();
    long_message_around_the_ring();
    int on_node = ranks_on_this_node();
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0)
        printf("hello: %d ranks, %d on a node, all results right\n", size, on_node);
    MPI_Finalize();
    return 0;
}
