/* SPDX-License-Identifier: ISC */
/* cli.h - the parts of `postern user`. One thread; may block on the terminal, the disk and the lock. */
#ifndef PN_AUTH_CLI_H
#define PN_AUTH_CLI_H

#include <limits.h>
#include <sys/stat.h>

#include "auth/user_table.h"

/* A user file open for change, under its lock. */
struct pn_user_edit {
	char path[PATH_MAX];  /* with symbolic links resolved: the file itself is replaced, never a link to it */
	int lock_fd;
	bool is_new;
	struct stat st;       /* of the file, if it is not new */
	char *text;
	size_t len;
};

/*
 * Takes the lock (waits for it) and reads the file. With `may_create` a missing file is an empty one. 0 or
 * -errno with err.
 */
int pn_user_edit_open(struct pn_user_edit *e, const char *path, bool may_create, struct pn_error *err) PN_MUST_CHECK;
/* Gives the lock back. Needed after every open, also a failed one. */
void pn_user_edit_close(struct pn_user_edit *e);
/* The line of the user, without its LF: position in text. False: there is none. `name` is prepared. */
bool pn_user_edit_find(const struct pn_user_edit *e, struct pn_slice name, struct pn_slice *ret_line);
bool pn_user_edit_has_seed(const struct pn_user_edit *e);
/*
 * Replaces text[from, to) by `middle` and appends `tail`, atomically and durably: new file in the same
 * directory with the old one's owner and mode, fsync, rename, fsync of the directory. All other octets stay. 0
 * or -errno with err.
 */
int pn_user_edit_commit(struct pn_user_edit *e, size_t from, size_t to, const char *middle, const char *tail,
                        struct pn_error *err) PN_MUST_CHECK;

#define PN_CLI_PASSWORD_SIZE (PN_SASL_PREPARED_MAX + 1)
/*
 * Reads a password: one line of stdin, or, when stdin is a terminal and `from_stdin` is false, twice without
 * echo. Prepares it. 0, or -1 with err.
 */
int pn_cli_read_password(bool from_stdin, char out[PN_CLI_PASSWORD_SIZE], struct pn_error *err) PN_MUST_CHECK;

/* What is stored for a password: "{CRYPT}$y$..." and "{SCRAM-SHA-256}...". */
struct pn_cli_secrets {
	char hash[PN_STORED_MAX + 16];
	char scram[PN_STORED_MAX + 32];
};
int pn_cli_make_secrets(const char *password, struct pn_cli_secrets *ret, struct pn_error *err) PN_MUST_CHECK;

#endif
