/* Preloaded (LD_PRELOAD), fails or ends the process at one operation on files of some folder, or
   only counts them: tests/faults.py says at which, in the file that FAULTS names. All processes
   that inherit both share the count. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* In the order of KINDS in tests/faults.py. */
enum kind { WRITE, SYNC, RENAME, CREATE, LOCK, READ, OPEN, REMOVE, KINDS };

static struct plan {
  int64_t seen[KINDS];  /* operations so far */
  int64_t nth;          /* the one that fails, from 1; 0: none */
  int32_t kind;         /* of which */
  int32_t error;        /* with what; 0: it does not come to it, as the process is killed */
  int32_t stays;        /* whether all after it fail, too */
  char folder[1024];    /* whose files count; empty: none */
  char met[1024];       /* the file of the one that failed */
} *plan;

__attribute__((constructor)) static void begin(void) {
  const char *name = getenv("FAULTS");
  int number = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
  if (number < 0) return;
  void *place = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, number, 0);
  close(number);
  if (place != MAP_FAILED) plan = place;
}

/* Whether the operation fails; then errno says with what. */
static int fails(enum kind kind, const char *path) {
  if (!plan || !*plan->folder || !path || !strstr(path, plan->folder)) return 0;
  int64_t seen = __atomic_add_fetch(&plan->seen[kind], 1, __ATOMIC_SEQ_CST);
  if ((int32_t)kind != plan->kind || !plan->nth) return 0;
  if (seen < plan->nth || (seen > plan->nth && !plan->stays)) return 0;
  if (seen == plan->nth) strncpy(plan->met, path, sizeof plan->met - 1);
  if (!plan->error) {
    kill(getpid(), SIGKILL);
    pause();
  }
  errno = plan->error;
  return 1;
}

static int fails_in(enum kind kind, int folder, const char *name) {
  if (!plan || !*plan->folder) return 0;
  char link[64], path[2 * PATH_MAX];
  int kept = errno;
  ssize_t length = 0;
  if (folder != AT_FDCWD && name[0] != '/') {
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    length = readlink(link, path, PATH_MAX);
    errno = kept;
    if (length < 0) return 0;
    if (*name) path[length++] = '/';
  }
  snprintf(path + length, sizeof path - length, "%s", name);
  return fails(kind, path);
}

static int fails_at(enum kind kind, int number) { return fails_in(kind, number, ""); }

#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name)

/* A function like one of libc's that fails by returning `bad`. */
#define LIKE(type, name, parameters, arguments, test, bad) \
  type name parameters { REAL(name); return (test) ? (bad) : real arguments; }

LIKE(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size),
     fails_at(WRITE, fd), -1)
LIKE(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at),
     fails_at(WRITE, fd), -1)
LIKE(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at),
     fails_at(WRITE, fd), -1)
LIKE(ssize_t, writev, (int fd, const struct iovec *data, int count), (fd, data, count),
     fails_at(WRITE, fd), -1)
LIKE(ssize_t, sendfile, (int to, int from, off_t *at, size_t size), (to, from, at, size),
     fails_at(WRITE, to), -1)
LIKE(ssize_t, sendfile64, (int to, int from, off64_t *at, size_t size), (to, from, at, size),
     fails_at(WRITE, to), -1)
LIKE(ssize_t, copy_file_range, (int from, off64_t *at, int to, off64_t *there, size_t size,
     unsigned flags), (from, at, to, there, size, flags), fails_at(WRITE, to), -1)
LIKE(size_t, fwrite, (const void *data, size_t size, size_t count, FILE *file),
     (data, size, count, file), fails_at(WRITE, fileno(file)), 0)
LIKE(int, fflush, (FILE *file), (file), file && fails_at(WRITE, fileno(file)), EOF)

/* It writes what is left, and closes the file in any case. */
int fclose(FILE *file) {
  REAL(fclose);
  int number = fileno(file), kept;
  int bad = (fcntl(number, F_GETFL) & O_ACCMODE) != O_RDONLY && fails_at(WRITE, number);
  kept = errno;
  int result = real(file);
  if (!bad) return result;
  errno = kept;
  return EOF;
}

LIKE(int, fsync, (int fd), (fd), fails_at(SYNC, fd), -1)
LIKE(int, fdatasync, (int fd), (fd), fails_at(SYNC, fd), -1)

LIKE(int, rename, (const char *from, const char *to), (from, to), fails(RENAME, to), -1)
LIKE(int, renameat, (int there, const char *from, int here, const char *to),
     (there, from, here, to), fails_in(RENAME, here, to), -1)
LIKE(int, renameat2, (int there, const char *from, int here, const char *to, unsigned flags),
     (there, from, here, to, flags), fails_in(RENAME, here, to), -1)
LIKE(int, mkdir, (const char *path, mode_t mode), (path, mode), fails(CREATE, path), -1)

LIKE(int, flock, (int fd, int operation), (fd, operation), fails_at(LOCK, fd), -1)

LIKE(ssize_t, read, (int fd, void *data, size_t size), (fd, data, size), fails_at(READ, fd), -1)
LIKE(ssize_t, pread, (int fd, void *data, size_t size, off_t at), (fd, data, size, at),
     fails_at(READ, fd), -1)
LIKE(ssize_t, pread64, (int fd, void *data, size_t size, off64_t at), (fd, data, size, at),
     fails_at(READ, fd), -1)

LIKE(int, unlink, (const char *path), (path), fails(REMOVE, path), -1)
LIKE(int, unlinkat, (int folder, const char *path, int flags), (folder, path, flags),
     fails_in(REMOVE, folder, path), -1)
LIKE(int, rmdir, (const char *path), (path), fails(REMOVE, path), -1)

static enum kind opening(int flags) {
  return flags & (O_WRONLY | O_RDWR | O_CREAT) ? CREATE : OPEN;
}

/* The mode is there only where a file may be made. */
#define MODE(flags) \
  mode_t mode = 0; \
  if ((flags) & (O_CREAT | __O_TMPFILE)) { \
    va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); \
  }

int open(const char *path, int flags, ...) {
  MODE(flags) REAL(open);
  return fails(opening(flags), path) ? -1 : real(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  MODE(flags) REAL(open64);
  return fails(opening(flags), path) ? -1 : real(path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...) {
  MODE(flags) REAL(openat);
  return fails_in(opening(flags), folder, path) ? -1 : real(folder, path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...) {
  MODE(flags) REAL(openat64);
  return fails_in(opening(flags), folder, path) ? -1 : real(folder, path, flags, mode);
}

LIKE(FILE *, fopen, (const char *path, const char *mode), (path, mode),
     fails(mode[0] == 'r' && !strchr(mode, '+') ? OPEN : CREATE, path), NULL)
LIKE(FILE *, fopen64, (const char *path, const char *mode), (path, mode),
     fails(mode[0] == 'r' && !strchr(mode, '+') ? OPEN : CREATE, path), NULL)
