/* Zeroed memory on huge pages, and reading a file into it. */
#ifndef IH_LM_MEMORY_H
#define IH_LM_MEMORY_H

#include <stddef.h>
#include <stdint.h>

void *ih_lm_map(size_t bytes); /* NULL when there is none */
void ih_lm_unmap(void *at, size_t bytes);
/* Bytes [offset, offset + bytes) of a file as they lie in the page cache, read-only and shared by all who map them; offset is a
 * multiple of a huge page. NULL unless the system maps them in huge pages: then they had better be copied. */
void *ih_lm_map_file(const char *path, size_t offset, size_t bytes);
void ih_lm_unmap_file(void *at, size_t bytes);
int ih_lm_read_file(const char *path, size_t offset, void *to, size_t bytes); /* 0, or -errno (-ENODATA: cut short) */

/* Reads every byte once, as fast as one thread can: the roof of decode. Returns a sum, so that nothing is left out. */
uint64_t ih_lm_read_all(const void *at, size_t bytes);

#endif
