/* Preloaded into a test's process: fails, tears or kills at the N-th change that the process makes to the file system.
 *
 *   ih_fault_arm(n, mode)   from now on count changes; at the n-th:
 *       1 full   it and every later write, truncation and new name fails with ENOSPC
 *       2 io     it alone fails with EIO (also a sync)
 *       3 kill   half of a write is made, or the change is made or not (even n: made), then SIGKILL
 *   ih_fault_count()        changes counted since
 *
 * Only changes to regular files and folders count: pipes, sockets and terminals are left alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { FULL = 1, IO = 2, KILL = 3 };
static int fault_at, fault_mode, counted;

void ih_fault_arm(int at, int mode) { fault_at = at; fault_mode = mode; counted = 0; }
int ih_fault_count(void) { return counted; }

static int is_file(int fd) {
    struct stat status;
    return fstat(fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode));
}

/* Returns 0 to go on, 1 to fail with errno set, 2 to die now (the caller may make a part of its change first). */
static int due(int takes_space) {
    if (fault_at == 0) return 0;
    int n = __atomic_add_fetch(&counted, 1, __ATOMIC_SEQ_CST);
    if (fault_mode == FULL && n >= fault_at && takes_space) { errno = ENOSPC; return 1; }
    if (fault_mode == IO && n == fault_at) { errno = EIO; return 1; }
    return fault_mode == KILL && n == fault_at ? 2 : 0;
}

static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    int what = is_file(fd) ? due(1) : 0;
    if (what == 1) return -1;
    if (what == 2) { ssize_t half = real(fd, data, size / 2); (void)half; die(); }
    return real(fd, data, size);
}

#define PWRITE(name, offset_type) \
    ssize_t name(int fd, const void *data, size_t size, offset_type at) { \
        REAL(ssize_t, #name, int, const void *, size_t, offset_type); \
        int what = is_file(fd) ? due(1) : 0; \
        if (what == 1) return -1; \
        if (what == 2) { ssize_t half = real(fd, data, size / 2, at); (void)half; die(); } \
        return real(fd, data, size, at); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

/* The others: a change that is made or not made. */
#define WHOLE(name, takes_space, parameters, arguments) \
    int name parameters { \
        static int (*real) parameters; \
        if (!real) real = (int (*) parameters)dlsym(RTLD_NEXT, #name); \
        int what = due(takes_space); \
        if (what == 1) return -1; \
        if (what == 2) { if (fault_at % 2 == 0) (void)!real arguments; die(); } \
        return real arguments; \
    }
WHOLE(ftruncate, 1, (int fd, off_t size), (fd, size))
WHOLE(ftruncate64, 1, (int fd, off64_t size), (fd, size))
WHOLE(fsync, 0, (int fd), (fd))
WHOLE(fdatasync, 0, (int fd), (fd))
WHOLE(rename, 1, (const char *from, const char *to), (from, to))
WHOLE(link, 1, (const char *from, const char *to), (from, to))
WHOLE(symlink, 1, (const char *from, const char *to), (from, to))
WHOLE(mkdir, 1, (const char *path, mode_t mode), (path, mode))
WHOLE(rmdir, 0, (const char *path), (path))
WHOLE(unlink, 0, (const char *path), (path))
WHOLE(unlinkat, 0, (int at, const char *path, int flags), (at, path, flags))
