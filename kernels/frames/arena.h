/* Memory that a caller brings for one call: taken from the front, given back to a mark. Where it is too small the call
 * returns IH_ENOMEM and is made again with more. */
#ifndef IH_ARENA_H
#define IH_ARENA_H

#include <stddef.h>
#include <stdint.h>

typedef struct ih_arena {
    uint8_t *start;
    size_t size, used; /* bytes */
} ih_arena;

/* `count` elements of `size` bytes, aligned to 16, not cleared; NULL where they do not fit. */
static inline void *ih_arena_take(ih_arena *arena, size_t count, size_t size)
{
    const size_t room = arena->size - arena->used;
    if (count > room / size) /* what is taken is rounded up: room for that is looked at below */
        return NULL;
    const size_t bytes = (count * size + 15) & ~(size_t)15;
    if (bytes > room)
        return NULL;
    uint8_t *taken = arena->start + arena->used;
    arena->used += bytes;
    return taken;
}

#endif
