/* SPDX-License-Identifier: ISC */
/*
 * sandbox.c - what the worker may still ask of the kernel: Landlock for files, seccomp for system
 * calls.
 *
 * io_uring operations pass seccomp by, so files are guarded by Landlock (which holds for ring
 * operations as well) and seccomp only takes away what no
 * path of ours needs: new programs, tracing, mounts, modules, keys, namespaces. A filter that
 * denies by list keeps working when libc changes its
 * habits; the promise of files rests on Landlock.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <postern/base/log.h>

#include "app.h"

#define ACCESS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define ACCESS_WRITE                                                                    \
	(ACCESS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | \
	 LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |                  \
	 LANDLOCK_ACCESS_FS_MAKE_DIR)
#define ACCESS_ALL                                                                  \
	(ACCESS_WRITE | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR | \
	 LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |              \
	 LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)
#ifdef LANDLOCK_ACCESS_FS_REFER
#define ACCESS_REFER LANDLOCK_ACCESS_FS_REFER
#else
#define ACCESS_REFER (1ULL << 13)
#endif

static long landlock_abi(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

static void allow(int ruleset, const char *path, uint64_t access)
{
	struct stat st;
	int fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return; /* nothing there, nothing to allow */
	if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
		access &= LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE;
	struct landlock_path_beneath_attr rule = { .allowed_access = access, .parent_fd = fd };
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
		pn_logf(PN_LOG_WARN, "sandbox", "landlock: %s: %s", path, strerror(errno));
	(void)close(fd);
}

static bool landlock_enter(const struct pn_sandbox *s)
{
	/* The first version denies every link and rename between directories, which the spool and
	 * Maildirs need; the right to them exists since the second. */
	if (landlock_abi() < 2)
		return false;
	uint64_t refer = ACCESS_REFER;
	struct landlock_ruleset_attr attr = { .handled_access_fs = ACCESS_ALL | refer };
	int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (ruleset < 0)
		return false;
	for (size_t i = 0; i < s->writable_count; i++)
		allow(ruleset, s->writable[i], ACCESS_WRITE | refer);
	for (size_t i = 0; i < s->readable_count; i++)
		allow(ruleset, s->readable[i], ACCESS_READ);
	bool is_in = syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
	(void)close(ruleset);
	return is_in;
}

static const int denied[] = {
	SCMP_SYS(execve),
	SCMP_SYS(execveat),
	SCMP_SYS(ptrace),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(mount),
	SCMP_SYS(umount2),
	SCMP_SYS(pivot_root),
	SCMP_SYS(chroot),
	SCMP_SYS(move_mount),
	SCMP_SYS(open_tree),
	SCMP_SYS(fsopen),
	SCMP_SYS(fsmount),
	SCMP_SYS(setns),
	SCMP_SYS(unshare),
	SCMP_SYS(bpf),
	SCMP_SYS(perf_event_open),
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(delete_module),
	SCMP_SYS(kexec_load),
	SCMP_SYS(kexec_file_load),
	SCMP_SYS(reboot),
	SCMP_SYS(swapon),
	SCMP_SYS(swapoff),
	SCMP_SYS(add_key),
	SCMP_SYS(request_key),
	SCMP_SYS(keyctl),
	SCMP_SYS(userfaultfd),
	SCMP_SYS(open_by_handle_at),
	SCMP_SYS(name_to_handle_at),
	SCMP_SYS(acct),
	SCMP_SYS(settimeofday),
	SCMP_SYS(clock_settime),
	SCMP_SYS(sethostname),
	SCMP_SYS(setdomainname),
	SCMP_SYS(iopl),
	SCMP_SYS(ioperm),
	SCMP_SYS(quotactl),
	SCMP_SYS(setuid),
	SCMP_SYS(setgid),
	SCMP_SYS(setreuid),
	SCMP_SYS(setregid),
	SCMP_SYS(setresuid),
	SCMP_SYS(setresgid),
};

static bool seccomp_enter(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	if (!ctx)
		return false;
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	bool is_in = true;
	for (size_t i = 0; i < PN_ARRAY_SIZE(denied); i++)
		is_in &= seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), denied[i], 0) == 0;
	is_in &= seccomp_load(ctx) == 0;
	seccomp_release(ctx);
	return is_in;
}

void pn_sandbox_enter(const struct pn_sandbox *s)
{
	bool has_landlock = landlock_enter(s);
	bool has_seccomp = seccomp_enter();
	pn_logf(has_landlock && has_seccomp ? PN_LOG_INFO : PN_LOG_WARN, "sandbox",
		"landlock %s, seccomp %s", has_landlock ? "on" : "not available",
		has_seccomp ? "on" : "not available");
}
