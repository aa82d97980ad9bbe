/*
 * Stands between a program and the C library: fails, shortens and delays the calls that change
 * files, by a seed, and counts all of them. For LD_PRELOAD.
 *
 *     FAULTS_FILE    the plan and the counts: a file of PLAN_BYTES that tests/below_libc/library.rs
 *                    creates. Without it, this library does nothing
 *     FAULTS_FOLDER  an absolute path. Only calls about files below it are counted as `inside` and
 *                    may fail
 *
 * The file is mapped, not written at the exit: so the counts are there however the process ends,
 * by kill -9 too, and the test changes the plan of a process that runs. Counts continue over
 * processes with the same file, so a process that starts again meets other faults.
 *
 * Whether a call fails depends on the seed, the name of the call and its number among the calls of
 * that name, and on nothing else.
 *
 * It is C and not Rust, because a definition of `open` with its variable arguments is not possible
 * in stable Rust, and because the standard library of a Rust library would itself call what is
 * replaced here. The build of stampede needs a C compiler in any case.
 *
 * It allocates no memory and calls nothing that it replaces. Its own calls go around it: see `map`.
 */

#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PLAN_BYTES 4096
/* The first word of a plan: "faults 1". */
#define MAGIC UINT64_C(0x312073746c756166)
#define MILLION 1000000

/* Every replaced symbol, the rare ones last. The 64-bit names are other symbols of the C library, for
 * the same calls. */
#define SYMBOLS(X) \
    X(write) X(writev) X(pwrite) X(pwrite64) X(fdatasync) X(fsync) X(rename) X(renameat) \
    X(renameat2) X(unlink) X(unlinkat) X(ftruncate) X(ftruncate64) X(fallocate) X(fallocate64) \
    X(mkdir) X(mkdirat) X(rmdir) X(chmod) X(open) X(open64)

enum symbol {
#define NUMBER(name) number_##name,
    SYMBOLS(NUMBER)
#undef NUMBER
        symbol_count
};

static const char *const names[] = {
#define NAME(name) #name,
    SYMBOLS(NAME)
#undef NAME
};

struct count {
    char name[16];
    /* All calls, and those about files in the folder. */
    _Atomic uint64_t calls, inside;
    /* Of the latter: failed with nothing done; failed after all or a part was done; shortened;
     * delayed. */
    _Atomic uint64_t refused, torn, shortened, delayed;
};

struct plan {
    uint64_t magic, seed;
    /* Of a million calls. A program writes and syncs often; other calls are rare. */
    _Atomic uint64_t failures, failures_of_rare, shortenings, delays;
    _Atomic uint64_t delay_us_max;
    uint64_t unused[9];
    struct count counts[symbol_count];
};

_Static_assert(sizeof(struct plan) <= PLAN_BYTES, "the plan fits into its file");
_Static_assert(sizeof(struct count) == 64, "library.rs reads counts of this size");

static struct plan *plan;
static char folder[PATH_MAX];
static size_t folder_length;

/* The first constructor: nothing of the program runs before it. */
__attribute__((constructor(101))) static void map(void)
{
    const char *file = getenv("FAULTS_FILE"), *below = getenv("FAULTS_FOLDER");
    if (!file || !below || strlen(below) >= sizeof folder)
        return;
    strcpy(folder, below);
    folder_length = strlen(folder);
    /* Not by `open`, which would count itself. */
    int fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, PLAN_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    struct plan *found = mapped;
    if (mapped == MAP_FAILED || found->magic != MAGIC)
        return;
    for (int number = 0; number < symbol_count; number++)
        strncpy(found->counts[number].name, names[number], sizeof found->counts[number].name - 1);
    plan = found;
}

/* The C library's own function. Two threads that look at the same time find the same. */
#define REAL(name) \
    ({ \
        static _Atomic(void *) found; \
        void *real = atomic_load_explicit(&found, memory_order_relaxed); \
        if (!real) { \
            real = dlsym(RTLD_NEXT, #name); \
            atomic_store_explicit(&found, real, memory_order_relaxed); \
        } \
        (__typeof__(&name))real; \
    })

/* SplitMix64's mixing. */
static uint64_t mix(uint64_t z)
{
    z += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* What becomes of a call. */
struct fate {
    uint64_t chance;
    /* 0: it succeeds. */
    int error;
    /* With an error: the work is done first, or a part of it. */
    int is_done;
    int is_short;
};

static const int errors_of_space[] = {ENOSPC, EIO, EDQUOT};
static const int errors_of_sync[] = {EIO, ENOSPC};
static const int errors_of_names[] = {EIO, ENOSPC, EACCES};

static int is_rare(enum symbol number)
{
    return number >= number_rename;
}

static int error_of(enum symbol number, uint64_t chance)
{
#define PICK(errors) ((errors)[chance % (sizeof(errors) / sizeof *(errors))])
    switch (number) {
    case number_fdatasync:
    case number_fsync:
        return PICK(errors_of_sync);
    case number_write:
    case number_writev:
    case number_pwrite:
    case number_pwrite64:
    case number_fallocate:
    case number_fallocate64:
        return PICK(errors_of_space);
    default:
        return PICK(errors_of_names);
    }
#undef PICK
}

/* Counts a call and decides. Waits first, if the call is to be slow. */
static struct fate decide(enum symbol number, int is_inside)
{
    struct fate fate = {0};
    if (!plan)
        return fate;
    struct count *count = &plan->counts[number];
    atomic_fetch_add(&count->calls, 1);
    if (!is_inside)
        return fate;
    uint64_t ordinal = atomic_fetch_add(&count->inside, 1);
    uint64_t chance = mix(plan->seed ^ mix((uint64_t)number << 48 | ordinal));
    if (mix(chance ^ 1) % MILLION < atomic_load(&plan->delays)) {
        uint64_t most = atomic_load(&plan->delay_us_max);
        uint64_t us = most ? mix(chance ^ 2) % most : 0;
        struct timespec time = {(time_t)(us / MILLION), (long)(us % MILLION) * 1000};
        nanosleep(&time, NULL);
        atomic_fetch_add(&count->delayed, 1);
    }
    uint64_t failures = atomic_load(is_rare(number) ? &plan->failures_of_rare : &plan->failures);
    if (mix(chance ^ 3) % MILLION < failures) {
        fate.error = error_of(number, mix(chance ^ 4));
        fate.is_done = number < number_open && mix(chance ^ 5) % 2;
        atomic_fetch_add(fate.is_done ? &count->torn : &count->refused, 1);
    } else if (mix(chance ^ 6) % MILLION < atomic_load(&plan->shortenings)) {
        fate.is_short = 1;
    }
    fate.chance = mix(chance ^ 7);
    return fate;
}

static int fail(int error)
{
    errno = error;
    return -1;
}

static int is_below(const char *path)
{
    return plan && folder_length && strncmp(path, folder, folder_length) == 0 &&
           (path[folder_length] == '/' || path[folder_length] == '\0');
}

/* Whether a descriptor is of a file or folder below the folder. Pipes and sockets never are. */
static int fd_is_below(int fd)
{
    if (!plan)
        return 0;
    int before = errno;
    struct stat status;
    int is_file = fstat(fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode));
    int is_inside = 0;
    if (is_file) {
        char link[32], path[PATH_MAX];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, sizeof path - 1);
        if (length > 0) {
            path[length] = '\0';
            is_inside = is_below(path);
        }
    }
    errno = before;
    return is_inside;
}

static int is_there(const char *path)
{
    int before = errno;
    int is_there = access(path, F_OK) == 0;
    errno = before;
    return is_there;
}

static int at_is_below(int at, const char *path)
{
    if (path[0] == '/')
        return is_below(path);
    return at != AT_FDCWD && fd_is_below(at);
}

/* How much of `bytes` is written: all, or by chance a part of it, at least one byte of several. */
static size_t share(const struct fate *fate, enum symbol number, size_t bytes)
{
    if (fate->error)
        return bytes ? fate->chance % (bytes + 1) : 0;
    if (!fate->is_short || bytes < 2)
        return bytes;
    atomic_fetch_add(&plan->counts[number].shortened, 1);
    return 1 + fate->chance % (bytes - 1);
}

/* A call with nothing to shorten. */
#define SIMPLE(number, is_inside, call) \
    do { \
        struct fate fate = decide(number, is_inside); \
        if (fate.error && !fate.is_done) \
            return fail(fate.error); \
        int result = (call); \
        return fate.error ? fail(fate.error) : result; \
    } while (0)

/* A call that writes `bytes` bytes, of which it may write fewer. */
#define WRITING(number, fd, bytes, call) \
    do { \
        struct fate fate = decide(number, fd_is_below(fd)); \
        if (fate.error && !fate.is_done) \
            return fail(fate.error); \
        size_t some = share(&fate, number, bytes); \
        ssize_t result = (call); \
        return fate.error ? fail(fate.error) : result; \
    } while (0)

ssize_t write(int fd, const void *from, size_t bytes)
{
    WRITING(number_write, fd, bytes, REAL(write)(fd, from, some));
}

ssize_t pwrite(int fd, const void *from, size_t bytes, off_t offset)
{
    WRITING(number_pwrite, fd, bytes, REAL(pwrite)(fd, from, some, offset));
}

ssize_t pwrite64(int fd, const void *from, size_t bytes, off64_t offset)
{
    WRITING(number_pwrite64, fd, bytes, REAL(pwrite64)(fd, from, some, offset));
}

/* A shortened one writes from its first part alone. */
ssize_t writev(int fd, const struct iovec *parts, int count)
{
    struct fate fate = decide(number_writev, fd_is_below(fd));
    if (fate.error && !fate.is_done)
        return fail(fate.error);
    if (count < 1 || (!fate.error && !fate.is_short))
        return REAL(writev)(fd, parts, count);
    struct iovec first = parts[0];
    first.iov_len = share(&fate, number_writev, first.iov_len);
    ssize_t result = REAL(writev)(fd, &first, 1);
    return fate.error ? fail(fate.error) : result;
}

int fdatasync(int fd)
{
    SIMPLE(number_fdatasync, fd_is_below(fd), REAL(fdatasync)(fd));
}

int fsync(int fd)
{
    SIMPLE(number_fsync, fd_is_below(fd), REAL(fsync)(fd));
}

int ftruncate(int fd, off_t length)
{
    SIMPLE(number_ftruncate, fd_is_below(fd), REAL(ftruncate)(fd, length));
}

int ftruncate64(int fd, off64_t length)
{
    SIMPLE(number_ftruncate64, fd_is_below(fd), REAL(ftruncate64)(fd, length));
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
    SIMPLE(number_fallocate, fd_is_below(fd), REAL(fallocate)(fd, mode, offset, length));
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length)
{
    SIMPLE(number_fallocate64, fd_is_below(fd), REAL(fallocate64)(fd, mode, offset, length));
}

int rename(const char *from, const char *to)
{
    SIMPLE(number_rename, is_below(to), REAL(rename)(from, to));
}

int renameat(int from_at, const char *from, int to_at, const char *to)
{
    SIMPLE(number_renameat, at_is_below(to_at, to), REAL(renameat)(from_at, from, to_at, to));
}

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned int flags)
{
    SIMPLE(number_renameat2, at_is_below(to_at, to),
           REAL(renameat2)(from_at, from, to_at, to, flags));
}

int unlink(const char *path)
{
    SIMPLE(number_unlink, is_below(path), REAL(unlink)(path));
}

int unlinkat(int at, const char *path, int flags)
{
    SIMPLE(number_unlinkat, at_is_below(at, path), REAL(unlinkat)(at, path, flags));
}

int mkdir(const char *path, mode_t mode)
{
    SIMPLE(number_mkdir, is_below(path), REAL(mkdir)(path, mode));
}

int mkdirat(int at, const char *path, mode_t mode)
{
    SIMPLE(number_mkdirat, at_is_below(at, path), REAL(mkdirat)(at, path, mode));
}

int rmdir(const char *path)
{
    SIMPLE(number_rmdir, is_below(path), REAL(rmdir)(path));
}

int chmod(const char *path, mode_t mode)
{
    SIMPLE(number_chmod, is_below(path), REAL(chmod)(path, mode));
}

/* Only an `open` that may create a file fails, with nothing done. A file that is there can lack only a
 * free descriptor. */
#define OPENING(name) \
    do { \
        mode_t mode = 0; \
        if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) { \
            va_list more; \
            va_start(more, flags); \
            mode = va_arg(more, mode_t); \
            va_end(more); \
        } \
        struct fate fate = decide(number_##name, (flags & O_CREAT) && is_below(path)); \
        if (fate.error) \
            return fail(is_there(path) ? EMFILE : fate.error); \
        return REAL(name)(path, flags, mode); \
    } while (0)

int open(const char *path, int flags, ...)
{
    OPENING(open);
}

int open64(const char *path, int flags, ...)
{
    OPENING(open64);
}
