# For every hall's doorway: what its pool of threads has done.
from libc.stdint cimport uint64_t

cdef extern from "common/pool.h":
    enum: IH_POOL_MOST
    ctypedef struct ih_pool_counts:
        uint64_t jobs, chunks_of_workers, late
    ih_pool_counts ih_pool_count() nogil


cdef inline tuple pool_count():
    """(jobs, chunks of workers, late)"""
    cdef ih_pool_counts counts = ih_pool_count()
    return counts.jobs, counts.chunks_of_workers, counts.late
