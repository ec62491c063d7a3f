/* Memory for weights and caches: zeroed, aligned to a huge page, on huge pages where the kernel gives them.
 *
 * Reading weights through 4 KB pages costs a third of the memory's rate (translation misses stall the prefetches), so the
 * stream is copied into anonymous huge pages at load; a file mapping cannot have them on most file systems.
 */
#define _GNU_SOURCE
#include "lm/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)

void *ih_lm_map(size_t bytes)
{
    size_t whole = bytes + HUGE_PAGE;
    uint8_t *at = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    uint8_t *aligned = (uint8_t *)(((uintptr_t)at + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
    if (aligned > at)
        munmap(at, (size_t)(aligned - at));
    size_t tail = (size_t)(at + whole - (aligned + (bytes + 4095) / 4096 * 4096));
    if (tail)
        munmap(at + whole - tail, tail);
    madvise(aligned, bytes, MADV_HUGEPAGE); /* refused where huge pages are off: 4 KB pages work too */
    return aligned;
}

void ih_lm_unmap(void *at, size_t bytes)
{
    if (at)
        munmap(at, bytes);
}

int ih_lm_read_file(const char *path, size_t offset, void *to, size_t bytes)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return -errno;
    uint8_t *at = to;
    while (bytes) {
        ssize_t got = pread(file, at, bytes > HUGE_PAGE ? HUGE_PAGE : bytes, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            int failure = got < 0 ? -errno : -ENODATA;
            close(file);
            return failure;
        }
        at += got, offset += (size_t)got, bytes -= (size_t)got;
    }
    close(file);
    return 0;
}

/* Sixteen-byte lanes: the compiler's own vectors, so that the probe is the same source on every machine. */
typedef uint64_t pair __attribute__((vector_size(16)));

uint64_t ih_lm_read_all(const void *at, size_t bytes)
{
    const pair *from = at;
    pair sum[4] = {{0}};
    for (size_t i = 0; i + 4 <= bytes / sizeof *from; i += 4)
        for (int j = 0; j < 4; j++)
            sum[j] += from[i + j];
    pair all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    return all[0] + all[1];
}
