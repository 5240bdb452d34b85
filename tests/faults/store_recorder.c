/* Loaded before libc (LD_PRELOAD): writes down, in order, what a process does to the files of one folder.
 *
 * FILE_RECORDER_FOLDER  the folder that is watched, by its real path
 * FILE_RECORDER_LOG     where it is written down
 *
 * One record an operation: kind (1 byte), inode (8), offset (8), length (4), then the payload; numbers little-endian.
 *   C created (payload: name)   W written   T truncated (offset: new length)   S synced
 *   R renamed (payload: from, zero, to)     U unlinked (payload: name)         D folder synced
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char folder[PATH_MAX];
static size_t folder_length;
static int log_descriptor = -1;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("FILE_RECORDER_FOLDER"), *log = getenv("FILE_RECORDER_LOG");
    if (!name || !log) return;
    snprintf(folder, sizeof folder, "%s/", name);
    folder_length = strlen(folder);
    log_descriptor = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void record(char kind, uint64_t inode, uint64_t offset, const void *payload, uint32_t length) {
    unsigned char *bytes = malloc(21 + (size_t)length);
    bytes[0] = (unsigned char)kind;
    memcpy(bytes + 1, &inode, 8);
    memcpy(bytes + 9, &offset, 8);
    memcpy(bytes + 17, &length, 4);
    if (length) memcpy(bytes + 21, payload, length);
    if (syscall(SYS_write, log_descriptor, bytes, 21 + (size_t)length) < 0) abort();
    free(bytes);
}

/* The inode of a descriptor inside the folder; 0 for anything else, 1 for the folder itself. */
static uint64_t watched(int descriptor) {
    char link[64], path[PATH_MAX];
    struct stat status;
    if (log_descriptor < 0 || descriptor == log_descriptor) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if ((size_t)length == folder_length - 1 && !strncmp(path, folder, folder_length - 1)) return 1;
    if (strncmp(path, folder, folder_length) || fstat(descriptor, &status)) return 0;
    return status.st_ino;
}

static const char *name_of(const char *path) {
    static __thread char real[PATH_MAX];
    if (log_descriptor < 0) return NULL;
    if (path[0] != '/' && getcwd(real, sizeof real)) {
        strncat(real, "/", sizeof real - strlen(real) - 1);
        strncat(real, path, sizeof real - strlen(real) - 1);
        path = real;
    }
    return strncmp(path, folder, folder_length) ? NULL : path + folder_length;
}

static int opened(const char *path, int descriptor, int existed, int flags) {
    const char *name = name_of(path);
    int kept = errno;
    if (descriptor >= 0 && name && *name && !existed && (flags & O_CREAT))
        record('C', watched(descriptor), 0, name, (uint32_t)strlen(name));
    else if (descriptor >= 0 && name && *name && existed && (flags & O_TRUNC))
        record('T', watched(descriptor), 0, NULL, 0);
    errno = kept;
    return descriptor;
}

#define OPEN(function)                                                                                                 \
    int function(const char *path, int flags, ...) {                                                                   \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        int mode = va_arg(more, int);                                                                                  \
        va_end(more);                                                                                                  \
        int existed = syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;                                               \
        return opened(path, (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode), existed, flags);                    \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int descriptor, const void *bytes, size_t length) {
    uint64_t inode = watched(descriptor);
    off_t at = inode ? lseek(descriptor, 0, SEEK_CUR) : 0;
    ssize_t done = syscall(SYS_write, descriptor, bytes, length);
    if (inode && done > 0) record('W', inode, (uint64_t)at, bytes, (uint32_t)done);
    return done;
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t length, off_t at) {
    ssize_t done = syscall(SYS_pwrite64, descriptor, bytes, length, at);
    uint64_t inode = watched(descriptor);
    if (inode && done > 0) record('W', inode, (uint64_t)at, bytes, (uint32_t)done);
    return done;
}
ssize_t pwrite(int descriptor, const void *bytes, size_t length, off_t at) { return pwrite64(descriptor, bytes, length, at); }

int ftruncate64(int descriptor, off_t length) {
    int done = (int)syscall(SYS_ftruncate, descriptor, length);
    uint64_t inode = watched(descriptor);
    if (inode && done == 0) record('T', inode, (uint64_t)length, NULL, 0);
    return done;
}
int ftruncate(int descriptor, off_t length) { return ftruncate64(descriptor, length); }

static int synced(int descriptor, int done) {
    uint64_t inode = watched(descriptor);
    if (inode && done == 0) record(inode == 1 ? 'D' : 'S', inode, 0, NULL, 0);
    return done;
}
int fsync(int descriptor) { return synced(descriptor, (int)syscall(SYS_fsync, descriptor)); }
int fdatasync(int descriptor) { return synced(descriptor, (int)syscall(SYS_fdatasync, descriptor)); }

static void linked(char kind, const char *from, const char *to) {
    char both[2 * PATH_MAX], first[PATH_MAX];
    const char *name = name_of(from);
    if (!name) return;
    snprintf(first, sizeof first, "%s", name);
    name = name_of(to);
    if (!name) return;
    size_t length = strlen(first) + 1 + strlen(name);
    snprintf(both, sizeof both, "%s", first);
    strcpy(both + strlen(first) + 1, name);
    record(kind, 0, 0, both, (uint32_t)length);
}

int rename(const char *from, const char *to) {
    int done = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (done == 0) linked('R', from, to);
    return done;
}
int link(const char *from, const char *to) {
    int done = (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (done == 0) linked('L', from, to);
    return done;
}
int unlink(const char *path) {
    int done = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    const char *name = name_of(path);
    if (done == 0 && name) record('U', 0, 0, name, (uint32_t)strlen(name));
    return done;
}
