/* SPDX-License-Identifier: ISC */
/*
 * files.c - do the files and folders that a configuration names exist, and can they be used?
 *
 * Asked by `postern check` and by the parent at start, with the rights of the caller. Nothing is made or
 * changed, and nothing is read but attributes: what is in the files is for those who use them.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config_internal.h"

/* A regular file that can be opened. 0, or reported. */
static bool file_check(struct pn_config_build *b, struct pn_config_place place, const char *what, const char *path,
                       const char *right, struct stat *st)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0) {
		if (errno == EACCES || errno == EPERM)
			right = "start as root (then set run_user), or give it to the user that starts the gateway";
		pn_config_mistake(b, place, "%s %s cannot be read: %s; %s", what, path, strerror(errno), right);
		return false;
	}
	bool is_file = fstat(fd, st) == 0 && S_ISREG(st->st_mode);
	close(fd);
	if (!is_file)
		pn_config_mistake(b, place, "%s %s is not a regular file; name a file", what, path);
	return is_file;
}

/* Secrets are the owner's alone. */
static void secret_check(struct pn_config_build *b, struct pn_config_place place, const char *what, const char *path,
                         const struct stat *st)
{
	if ((st->st_mode & (S_IRWXG | S_IRWXO)) != 0)
		pn_config_warning(b, place,
				  "%s %s has mode %04o, so others than its owner can use it; chmod 600 %s", what,
				  path, (unsigned)(st->st_mode & 07777), path);
}

static void certificates_check(struct pn_config_build *b, const struct pn_config *c)
{
	struct stat st;

	for (size_t i = 0; i < c->certificate_count; i++) {
		const struct pn_config_certificate *cert = &c->certificates[i];
		size_t at = pn_config_instance_of(b, PN_SECTION_CERTIFICATE, i);
		struct pn_config_place chain = pn_config_place_of(b, at, "chain_file");
		struct pn_config_place key = pn_config_place_of(b, at, "key_file");
		if (*cert->chain_file != '\0')
			file_check(b, chain, "chain_file", cert->chain_file, "name the PEM file of the certificate",
				   &st);
		if (*cert->key_file != '\0' &&
		    file_check(b, key, "key_file", cert->key_file, "name the PEM file of the private key", &st))
			secret_check(b, key, "key_file", cert->key_file, &st);
	}
}

/* `path` is to be made in a folder that exists. */
static void parent_check(struct pn_config_build *b, struct pn_config_place place, const char *what, const char *path)
{
	struct stat st;
	char *parent = strdup(path);

	if (parent == NULL) {
		pn_config_memory_out(b);
		return;
	}
	size_t len = strlen(parent);
	while (len > 1 && parent[len - 1] == '/')
		parent[--len] = '\0';
	char *slash = strrchr(parent, '/');
	slash[slash == parent] = '\0';
	if (stat(parent, &st) != 0)
		pn_config_mistake(b, place, "%s: the folder %s: %s; make it first", what, parent, strerror(errno));
	else if (!S_ISDIR(st.st_mode))
		pn_config_mistake(b, place, "%s: %s is not a folder; choose another path", what, parent);
	free(parent);
}

static void upstreams_check(struct pn_config_build *b, const struct pn_config *c)
{
	struct stat st;

	for (size_t i = 0; i < c->upstream_count; i++) {
		const struct pn_config_upstream *u = &c->upstreams[i];
		size_t at = pn_config_instance_of(b, PN_SECTION_UPSTREAM, i);
		struct pn_config_place password = pn_config_place_of(b, at, "auth_password_file");
		if (*u->ca_file != '\0')
			file_check(b, pn_config_place_of(b, at, "ca_file"), "ca_file", u->ca_file,
			           "name the PEM file of the trusted roots, or \"\" for the system's", &st);
		if (*u->auth_password_file != '\0' &&
		    file_check(b, password, "auth_password_file", u->auth_password_file,
		               "write the password into its first line", &st))
			secret_check(b, password, "auth_password_file", u->auth_password_file, &st);
		if (*u->maildir != '\0')
			parent_check(b, pn_config_place_of(b, at, "maildir"), "maildir", u->maildir);
	}
}

/* The gateway makes the folder itself, inside of one that exists. */
static void spool_check(struct pn_config_build *b, const struct pn_config *c)
{
	struct stat st;
	struct pn_config_place place = pn_config_place_of(b, pn_config_instance_of(b, PN_SECTION_SPOOL, 0), "path");
	const struct passwd *pw = *c->run_user != '\0' ? getpwnam(c->run_user) : NULL;

	if (stat(c->spool.path, &st) != 0 && errno == ENOENT)
		parent_check(b, place, "spool.path", c->spool.path);
	else if (stat(c->spool.path, &st) != 0)
		pn_config_mistake(b, place, "spool.path %s: %s; name a folder that can be reached", c->spool.path,
		                  strerror(errno));
	else if (!S_ISDIR(st.st_mode))
		pn_config_mistake(b, place, "spool.path %s is not a folder; name one", c->spool.path);
	else if (*c->run_user == '\0' && access(c->spool.path, R_OK | W_OK | X_OK) != 0)
		pn_config_mistake(b, place, "spool.path %s: %s; give it to the user that the gateway runs as",
				  c->spool.path, strerror(errno));
	else if (pw != NULL && st.st_uid != pw->pw_uid && !(st.st_gid == pw->pw_gid && (st.st_mode & S_IWGRP) != 0))
		pn_config_mistake(b, place, "spool.path %s does not belong to run_user %s; chown -R %s %s",
				  c->spool.path, c->run_user, c->run_user, c->spool.path);
}

/* The group that the worker will have when we are root: run_group, or that of run_user. NULL: cannot be told. */
static const struct group *worker_group(const struct pn_config *c, const struct passwd *pw)
{
	return *c->run_group != '\0' ? getgrnam(c->run_group) : getgrgid(pw->pw_gid);
}

/* Whether the worker will be able to read a file that it opens by itself; true also where that cannot be told. */
static bool may_worker_read(const struct pn_config *c, const struct passwd *pw, const struct stat *st)
{
	gid_t groups[64];
	int count = PN_ARRAY_SIZE(groups);
	const struct group *own = worker_group(c, pw);

	if (st->st_uid == pw->pw_uid)
		return (st->st_mode & S_IRUSR) != 0;
	if (getgrouplist(c->run_user, own != NULL ? own->gr_gid : pw->pw_gid, groups, &count) < 0)
		return true;
	for (int i = 0; i < count; i++) {
		if (groups[i] == st->st_gid)
			return (st->st_mode & S_IRGRP) != 0;
	}
	return (st->st_mode & S_IROTH) != 0;
}

static void users_check(struct pn_config_build *b, const struct pn_config *c)
{
	struct pn_config_place place =
		pn_config_place_of(b, pn_config_instance_of(b, PN_SECTION_AUTH, 0), "user_file");
	const char *path = c->auth.user_file;
	struct stat st;

	if (!file_check(b, place, "user_file", path, "make it with: postern user add NAME", &st))
		return;
	const struct passwd *pw = geteuid() == 0 && *c->run_user != '\0' ? getpwnam(c->run_user) : NULL;
	if (pw != NULL && !may_worker_read(c, pw, &st)) {
		const struct group *group = worker_group(c, pw);
		pn_config_mistake(b, place, "user_file %s cannot be read by run_user %s; chgrp %s %s && chmod 640 %s",
		                  path, c->run_user, group != NULL ? group->gr_name : c->run_user, path, path);
	} else if ((st.st_mode & S_IRWXO) != 0) {
		pn_config_warning(b, place, "user_file %s has mode %04o, so everybody can use it; chmod 640 %s", path,
		                  (unsigned)(st.st_mode & 07777), path);
	}
}

/* The gateway makes the folder of the control socket itself, inside of one that exists. */
static void control_check(struct pn_config_build *b, const struct pn_config *c)
{
	char folder[PN_CONFIG_STRING_MAX_BYTES + 1];
	struct stat st;

	snprintf(folder, sizeof(folder), "%s", c->control_socket);
	char *slash = strrchr(folder, '/');
	if (slash == NULL || slash == folder)
		return;
	*slash = '\0';
	if (stat(folder, &st) != 0 && errno == ENOENT)
		parent_check(b, pn_config_place_of(b, 0, "control_socket"), "control_socket", folder);
}

static void accounts_check(struct pn_config_build *b, const struct pn_config *c)
{
	if (*c->run_user != '\0') {
		const struct passwd *pw = getpwnam(c->run_user);
		struct pn_config_place place = pn_config_place_of(b, 0, "run_user");
		if (pw == NULL)
			pn_config_mistake(b, place, "there is no user %s; make it: adduser --system --group %s",
					  c->run_user, c->run_user);
		else if (pw->pw_uid == 0)
			pn_config_mistake(b, place, "the user %s is root; name an account of its own", c->run_user);
	}
	if (*c->run_group != '\0' && getgrnam(c->run_group) == NULL)
		pn_config_mistake(b, pn_config_place_of(b, 0, "run_group"),
				  "there is no group %s; make it: addgroup --system %s", c->run_group,
				  c->run_group);
}

void pn_config_files_check(struct pn_config_build *b)
{
	const struct pn_config *c = b->config;
	accounts_check(b, c);
	certificates_check(b, c);
	upstreams_check(b, c);
	users_check(b, c);
	control_check(b, c);
	spool_check(b, c);
	if (*c->log.file != '\0')
		parent_check(b, pn_config_place_of(b, pn_config_instance_of(b, PN_SECTION_LOG, 0), "file"), "log.file",
		             c->log.file);
	if (strchr(c->hostname, '.') == NULL)
		pn_config_warning(
			b, pn_config_place_of(b, 0, "hostname"),
			"the hostname %s has no dot; other servers expect a full name such as mail.example.org",
			c->hostname);
}
