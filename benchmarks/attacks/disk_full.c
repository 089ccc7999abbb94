/* Preloaded into a process: from its Nth write below a folder on, the disk is full (ENOSPC).

   disk_full_after(folder, n): n < 0 never; the count begins anew. disk_writes(): how many so far. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[4096];
static atomic_long limit = -1, seen = 0;

void disk_full_after(const char *path, long writes) {
    strncpy(folder, path, sizeof folder - 1);
    atomic_store(&seen, 0);
    atomic_store(&limit, writes);
}

long disk_writes(void) { return atomic_load(&seen); }

static int is_full(int fd) {
    char link[64], path[4096];
    if (!folder[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size <= 0) return 0;
    path[size] = 0;
    size_t length = strlen(folder);
    if (strncmp(path, folder, length) || path[length] != '/') return 0;
    long number = atomic_fetch_add(&seen, 1), most = atomic_load(&limit);
    return most >= 0 && number >= most;
}

/* A function of libc that writes to `fd`: its parameters with and without their types. */
#define WRITES(name, typed, plain) \
    ssize_t name typed { \
        static ssize_t(*real) typed; \
        if (!real) real = (ssize_t(*) typed)dlsym(RTLD_NEXT, #name); \
        if (is_full(fd)) { \
            errno = ENOSPC; \
            return -1; \
        } \
        return real plain; \
    }

WRITES(write, (int fd, const void *data, size_t size), (fd, data, size))
WRITES(pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
WRITES(pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
WRITES(writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
WRITES(sendfile, (int fd, int from, off_t *at, size_t size), (fd, from, at, size))
WRITES(sendfile64, (int fd, int from, off64_t *at, size_t size), (fd, from, at, size))
WRITES(copy_file_range, (int from, off64_t *start, int fd, off64_t *at, size_t size, unsigned flags),
       (from, start, fd, at, size, flags))
