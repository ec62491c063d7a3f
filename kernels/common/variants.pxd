# For every hall's doorway: the variants that a hall's table has on this CPU, and the choice of one by its name.
cdef extern from "common/variants.h":
    enum: IH_VARIANT_COUNT
    const char *ih_variant_name(int variant) nogil
    int ih_variant_runs(const void *const *table, int variant) nogil
    int ih_variant_best(const void *const *table) nogil


cdef inline tuple variant_names(const void *const *table):
    """The names of the variants that run here, from plain to best."""
    return tuple([ih_variant_name(i).decode("ascii") for i in range(IH_VARIANT_COUNT) if ih_variant_runs(table, i)])


cdef inline int variant_index(const void *const *table, object name) except -1:
    """The index of the variant called `name`, or of the best one for None."""
    cdef int i
    if name is None:
        return ih_variant_best(table)
    for i in range(IH_VARIANT_COUNT):
        if ih_variant_name(i).decode("ascii") == name and ih_variant_runs(table, i):
            return i
    raise ValueError(f"no variant called {name!r} runs here; these do: {', '.join(variant_names(table))}")
