/* SPDX-License-Identifier: ISC */
/* privileges.c - who the worker becomes, and what it must be able to write before it does. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app.h"

int pn_identity_find(const struct pn_config *c, struct pn_identity *ret, struct pn_error *err)
{
	memset(ret, 0, sizeof(*ret));
	if (geteuid() != 0) {
		ret->uid = geteuid();
		ret->gid = getegid();
		return 0;
	}
	if (c->run_user[0] == '\0')
		return pn_error_set(err, "started as root but run_user is not configured; set "
					 "run_user = \"postern\" (useradd --system postern)");
	const struct passwd *pw = getpwnam(c->run_user);
	if (!pw)
		return pn_error_set(err,
				    "run_user \"%s\" does not exist; make it: useradd --system "
				    "--shell /usr/sbin/nologin %s",
				    c->run_user, c->run_user);
	if (pw->pw_uid == 0)
		return pn_error_set(
			err, "run_user \"%s\" is root; the worker must run as an unprivileged user",
			c->run_user);
	ret->uid = pw->pw_uid;
	ret->gid = pw->pw_gid;
	(void)snprintf(ret->user, sizeof(ret->user), "%s", c->run_user);
	if (c->run_group[0] != '\0') {
		const struct group *gr = getgrnam(c->run_group);
		if (!gr)
			return pn_error_set(
				err,
				"run_group \"%s\" does not exist; make it: groupadd --system %s",
				c->run_group, c->run_group);
		ret->gid = gr->gr_gid;
	}
	ret->is_set = true;
	return 0;
}

int pn_log_file_open(const struct pn_config *c, const struct pn_identity *id, struct pn_error *err)
{
	const char *path = c->log.file;
	if (path[0] == '\0')
		return -1;
	/* As the worker's user: a log is that user's file, and a link in its place leads no further than that
	 * user may go. */
	gid_t gid = getegid();
	bool is_other = id->is_set && setegid(id->gid) == 0 && seteuid(id->uid) == 0;
	int fd = -1, error = EPERM;
	if (is_other || !id->is_set) {
		fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
			  0640);
		error = errno;
	}
	bool is_back = !id->is_set || (seteuid(0) == 0 && setegid(gid) == 0);
	PN_ASSERT(is_back);
	if (fd < 0)
		(void)pn_error_set(err, "log.file: %s: %s", path, strerror(error));
	return fd;
}

int pn_privileges_drop(const struct pn_identity *id, struct pn_error *err)
{
	if (id->is_set &&
	    (initgroups(id->user, id->gid) != 0 || setresgid(id->gid, id->gid, id->gid) != 0 ||
	     setresuid(id->uid, id->uid, id->uid) != 0))
		return pn_error_set(err, "cannot become user %s: %s", id->user, strerror(errno));
	if (id->is_set && (setuid(0) == 0 || geteuid() == 0))
		return pn_error_set(err, "privileges could be taken back after dropping them");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return pn_error_set(err, "PR_SET_NO_NEW_PRIVS: %s", strerror(errno));
	/* Passwords and keys pass through here: no core file, no ptrace by the same user. */
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	return 0;
}

int pn_directory_prepare(const char *path, mode_t mode, const struct pn_identity *id,
			 struct pn_error *err)
{
	struct stat st;
	if (mkdir(path, mode) == 0) {
		if (id->is_set && chown(path, id->uid, id->gid) != 0)
			return pn_error_set(err, "%s: cannot give it to user %s: %s", path,
					    id->user, strerror(errno));
		return 0;
	}
	if (errno != EEXIST)
		return pn_error_set(err, "%s: cannot make this directory: %s", path,
				    strerror(errno));
	if (stat(path, &st) != 0)
		return pn_error_set(err, "%s: %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return pn_error_set(err, "%s: is not a directory", path);
	if (id->is_set && st.st_uid != id->uid && !(st.st_gid == id->gid && (st.st_mode & 0020)))
		return pn_error_set(err, "%s: user %s cannot write it; chown %s %s", path, id->user,
				    id->user, path);
	return 0;
}

uint64_t pn_open_files_raise(uint64_t wanted)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 0;
	rlim_t target = wanted == 0 ? limit.rlim_max : (rlim_t)wanted;
	struct rlimit raised = { .rlim_cur = target,
				 .rlim_max = target > limit.rlim_max ? target : limit.rlim_max };
	if (setrlimit(RLIMIT_NOFILE, &raised) != 0) {
		raised = (struct rlimit){ .rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max };
		(void)setrlimit(RLIMIT_NOFILE, &raised);
	}
	return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (uint64_t)limit.rlim_cur : 0;
}
