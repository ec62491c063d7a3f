/* Memory for weights and caches: zeroed, aligned to a huge page, on huge pages where the kernel gives them.
 *
 * Reading weights through 4 KB pages costs a third of the memory's rate (translation misses stall the prefetches). Where the
 * file system keeps files in large folios (ext4 since Linux 6.16, xfs and btrfs before) the cached file itself is mapped in
 * huge pages, in 0.2 ms for 97 MB; elsewhere the stream is copied into anonymous huge pages, in 30.
 */
#define _GNU_SOURCE
#include "lm/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)

static size_t up_to_huge(size_t bytes)
{
    return (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
}

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

/* Linux 6.7: which pages of a range are mapped how. Not in Debian 12's headers. */
struct page_region {
    uint64_t start, end, categories;
};
struct pm_scan_arg {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define PAGEMAP_SCAN_IOCTL _IOWR('f', 16, struct pm_scan_arg)
#define PAGE_IS_HUGE_BIT (1u << 6)

/* Whether all of a mapping is in huge pages, as far as the system can tell. */
static int is_huge(const void *at, size_t bytes)
{
    struct page_region found[1];
    struct pm_scan_arg ask = {.size = sizeof ask, .start = (uintptr_t)at, .end = (uintptr_t)at + bytes};
    ask.vec = (uintptr_t)found, ask.vec_len = 1;
    ask.category_mask = ask.return_mask = PAGE_IS_HUGE_BIT;
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (pagemap < 0)
        return 0;
    int regions = ioctl(pagemap, PAGEMAP_SCAN_IOCTL, &ask);
    close(pagemap);
    return regions == 1 && found[0].start == ask.start && found[0].end == ask.end;
}

void *ih_lm_map_file(const char *path, size_t offset, size_t bytes)
{
#if defined(MADV_POPULATE_READ)
    size_t whole = up_to_huge(bytes);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat found;
    if (file < 0 || offset % HUGE_PAGE || fstat(file, &found) || (size_t)found.st_size < offset + whole) {
        if (file >= 0)
            close(file);
        return NULL;
    }
    uint8_t *aligned = ih_lm_map(whole); /* a place at a huge page's boundary */
    void *at = aligned ? mmap(aligned, whole, PROT_READ, MAP_SHARED | MAP_FIXED, file, (off_t)offset) : MAP_FAILED;
    close(file);
    /* The first huge page tells whether the file system has them; no other page is made present before that is known. */
    int good = at != MAP_FAILED && !madvise(at, whole, MADV_HUGEPAGE) && !madvise(at, HUGE_PAGE, MADV_POPULATE_READ)
        && is_huge(at, HUGE_PAGE) && !madvise(at, whole, MADV_POPULATE_READ) && is_huge(at, whole);
    if (good)
        return at;
    if (aligned)
        munmap(aligned, whole);
#else
    (void)path, (void)offset, (void)bytes;
#endif
    return NULL;
}

void ih_lm_unmap_file(void *at, size_t bytes)
{
    ih_lm_unmap(at, up_to_huge(bytes));
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
