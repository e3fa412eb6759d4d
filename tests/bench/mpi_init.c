/* The shortest MPI program: initialization, a barrier, the end. Rank 0 prints one line of JSON with the time that
 * it needed until all ranks were there. */
#include "timing.h"

#include <mpi.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    double start = now_ns();
    int rank, size;
    MPI_Init(&argc, &argv);
    MPI_Barrier(MPI_COMM_WORLD);
    double end = now_ns();
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (rank == 0)
        printf("{\"size\": %d, \"init_ns\": %.0f}\n", size, end - start);
    MPI_Finalize();
    return 0;
}
