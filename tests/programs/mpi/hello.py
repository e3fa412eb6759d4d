"""A sum over all ranks and a token around the ring with mpi4py; every rank checks what it gets.

usage: hello.py EXPECTED_NUMBER_OF_RANKS
Rank 0 prints a line at the end, and which MPI library carried it.
"""

import sys

from mpi4py import MPI


def main():
    """Runs the program."""
    world = MPI.COMM_WORLD
    rank, size = world.rank, world.size
    assert size == int(sys.argv[1]), f"rank {rank}: {size} ranks, not {sys.argv[1]}"
    assert world.allreduce(rank) == size * (size - 1) // 2, f"rank {rank}: wrong sum"
    word = world.sendrecv({"from": rank}, dest=(rank + 1) % size, source=(rank - 1) % size)
    assert word == {"from": (rank - 1) % size}, f"rank {rank}: {word} came around the ring"
    names = world.gather(f"rank {rank}")
    if rank == 0:
        assert names == [f"rank {other}" for other in range(size)], names
        version = MPI.Get_library_version().split()
        print(f"hello: {size} ranks, all results right, with {' '.join(version[:3])}", flush=True)


main()
