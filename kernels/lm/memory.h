/* Zeroed memory on huge pages, and reading a file into it. */
#ifndef IH_LM_MEMORY_H
#define IH_LM_MEMORY_H

#include <stddef.h>

void *ih_lm_map(size_t bytes); /* NULL when there is none */
void ih_lm_unmap(void *at, size_t bytes);
int ih_lm_read_file(const char *path, size_t offset, void *to, size_t bytes); /* 0, or -errno (-ENODATA: cut short) */

#endif
