/* SPDX-License-Identifier: ISC */
/*
 * user_file.h - reading the user file, and telling one version of it from another. Any thread; blocks on the
 * disk.
 */
#ifndef PN_AUTH_USER_FILE_H
#define PN_AUTH_USER_FILE_H

#include <stdio.h>
#include <sys/stat.h>

#include "auth/user_table.h"

/* Which version of a file it is. All zero: there is none. */
struct pn_file_stamp {
	uint64_t device, inode, size;
	int64_t modified_ns, changed_ns;
};

struct pn_file_stamp pn_file_stamp_of(const struct stat *st);
/* The stamp of the file that is there now. */
struct pn_file_stamp pn_file_stamp_now(const char *path);
bool pn_file_stamp_eq(const struct pn_file_stamp *a, const struct pn_file_stamp *b);

/*
 * Gathers mistakes as "file:line: text": lines to `stream` (may be NULL) and as many as fit to `err` (may be
 * NULL).
 */
struct pn_user_mistakes {
	const char *path;
	FILE *stream;
	struct pn_error *err;
	size_t count;
};

/*
 * Reads and checks the whole file. A sealed table, or NULL with all mistakes reported; *ret_stamp is set either
 * way. With `keep_going` the table of the good lines is returned in spite of mistakes (NULL only when it cannot
 * be read at all).
 */
struct pn_user_table *pn_user_file_read(const char *path, bool keep_going, struct pn_user_mistakes *mistakes,
                                        struct pn_file_stamp *ret_stamp);

#endif
