/* SPDX-License-Identifier: ISC */
/*
 * user_file.c - reads the user file line by line through one bounded buffer and reports every mistake with its
 * line.
 *
 * Lines starting with '#' are comments, but for the seed line (user_table.c); empty lines are skipped. A file
 * that changes while it is read gets the stamp of its start, so that the next look at it finds another version.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <postern/base/codec.h>
#include <postern/base/secret.h>

#include "auth/user_file.h"

struct reader {
	struct pn_user_table *table;
	struct pn_user_mistakes *mistakes;
	uint32_t line_number;
	bool is_over;      /* a mistake after which reading on makes no sense */
	bool is_skipping;  /* inside a line that is too long */
	size_t len;        /* of the unfinished line at the front of buf */
	uint8_t buf[PN_USER_LINE_MAX + 1];
};

static int64_t to_ns(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct pn_file_stamp pn_file_stamp_of(const struct stat *st)
{
	return (struct pn_file_stamp){
		.device = (uint64_t)st->st_dev,
		.inode = (uint64_t)st->st_ino,
		.size = (uint64_t)st->st_size,
		.modified_ns = to_ns(st->st_mtim),
		.changed_ns = to_ns(st->st_ctim),
	};
}

struct pn_file_stamp pn_file_stamp_now(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 ? pn_file_stamp_of(&st) : (struct pn_file_stamp){ 0 };
}

bool pn_file_stamp_eq(const struct pn_file_stamp *a, const struct pn_file_stamp *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
	       a->modified_ns == b->modified_ns && a->changed_ns == b->changed_ns;
}

/* Appends to err what fits whole; what did not is counted in a last line, for which room is kept. */
static void append_error(struct pn_user_mistakes *m, const char *text)
{
	size_t used = m->count > 0 ? strlen(m->err->text) : 0;
	size_t len = strlen(text);

	if (m->count > 0) {
		if (used + len + 64 >= sizeof(m->err->text))
			return;
		m->err->text[used++] = '\n';
	}
	len = pn_min_size(len, sizeof(m->err->text) - used - 1);
	memcpy(m->err->text + used, text, len);
	m->err->text[used + len] = '\0';
}

static PN_PRINTF(3, 4) void mistake(struct pn_user_mistakes *m, uint32_t line, const char *fmt, ...)
{
	char text[512], whole[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	int len = line > 0 ? snprintf(whole, sizeof(whole), "%s:%u: %s", m->path, line, text)
	                   : snprintf(whole, sizeof(whole), "%s: %s", m->path, text);
	if (len >= (int)sizeof(whole))
		memcpy(whole + sizeof(whole) - 4, "...", 4);
	if (m->stream)
		fprintf(m->stream, "%s\n", whole);
	if (m->err)
		append_error(m, whole);
	m->count++;
}

/* Says how many mistakes there are when there is more than err shows. */
static void close_error(struct pn_user_mistakes *m)
{
	if (!m->err || m->count < 2)
		return;
	size_t shown = 1, used = strlen(m->err->text);
	for (size_t i = 0; i < used; i++)
		shown += m->err->text[i] == '\n';
	if (shown < m->count)
		snprintf(m->err->text + used, sizeof(m->err->text) - used, "\nand %zu more mistakes",
		         m->count - shown);
}

static void seed_line(struct reader *r, struct pn_slice text)
{
	uint8_t seed[PN_BASE64_DECODED_SIZE_MAX(PN_BASE64_ENCODED_SIZE(PN_SCRAM_SEED_LEN))];

	if (text.len != PN_BASE64_ENCODED_SIZE(PN_SCRAM_SEED_LEN) ||
	    pn_base64_decode(seed, text) != PN_SCRAM_SEED_LEN) {
		mistake(r->mistakes, r->line_number,
		        "the SCRAM seed is not base64 of %d octets; remove the line, 'postern user' "
		        "writes a new one",
		        PN_SCRAM_SEED_LEN);
		return;
	}
	if (r->table->has_seed) {
		mistake(r->mistakes, r->line_number, "a second SCRAM seed; remove one of the two lines");
		return;
	}
	r->table->has_seed = true;
	memcpy(r->table->seed, seed, PN_SCRAM_SEED_LEN);
	pn_wipe(seed, sizeof(seed));
}

static void add_user(struct reader *r, struct pn_auth_user *u)
{
	const struct pn_auth_user *other = NULL;
	int result = pn_user_table_add(r->table, u, &other);

	if (result == 0)
		return;
	if (result == -EEXIST)
		mistake(r->mistakes, r->line_number,
		        "the user stands in line %u already (names differ in more than the case of "
		        "letters); remove one of the two",
		        other->line);
	else if (result == -ENOSPC)
		mistake(r->mistakes, r->line_number, "more than %d users; split them over several gateways",
		        PN_USERS_MAX);
	else
		mistake(r->mistakes, r->line_number, "out of memory");
	r->is_over = result != -EEXIST;
	pn_auth_user_unref(u);
}

static void one_line(struct reader *r, struct pn_slice line)
{
	struct pn_slice prefix = PN_SLICE_LIT(PN_SCRAM_SEED_PREFIX);
	struct pn_error err;

	if (line.len == 0)
		return;
	if (line.ptr[0] == '#') {
		if (line.len >= prefix.len && memcmp(line.ptr, prefix.ptr, prefix.len) == 0) {
			pn_slice_advance(&line, prefix.len);
			seed_line(r, line);
		}
		return;
	}
	struct pn_auth_user *u = pn_user_parse_line(line, r->line_number, &err);
	if (u)
		add_user(r, u);
	else
		mistake(r->mistakes, r->line_number, "%s", err.text);
}

/* Uses up the whole lines in buf; what is left moves to the front. */
static void take_lines(struct reader *r, bool is_end)
{
	size_t start = 0;

	while (start < r->len && !r->is_over) {
		const uint8_t *lf = memchr(r->buf + start, '\n', r->len - start);
		size_t end = lf ? (size_t)(lf - r->buf) : r->len;
		if (!lf && !is_end && (start > 0 || end < sizeof(r->buf)))
			break;
		if (!r->is_skipping)
			r->line_number++;
		if (!r->is_skipping && end - start > PN_USER_LINE_MAX)
			mistake(r->mistakes, r->line_number,
			        "the line is longer than %d octets; list domains in place of addresses",
			        PN_USER_LINE_MAX);
		else if (!r->is_skipping)
			one_line(r, pn_slice(r->buf + start, end - start));
		r->is_skipping = !lf && !is_end;
		start = lf ? end + 1 : end;
	}
	if (start < r->len)
		memmove(r->buf, r->buf + start, r->len - start);
	r->len -= start;
}

static void read_lines(struct reader *r, int fd)
{
	ssize_t n = 1;

	while (n != 0 && !r->is_over) {
		n = read(fd, r->buf + r->len, sizeof(r->buf) - r->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			mistake(r->mistakes, 0, "cannot read the user file: %s", strerror(errno));
			r->is_over = true;
			return;
		}
		r->len += (size_t)n;
		take_lines(r, n == 0);
	}
}

static struct pn_user_table *read_open(int fd, bool keep_going, struct pn_user_mistakes *mistakes)
{
	struct reader *r = calloc(1, sizeof(*r));
	struct pn_user_table *table = pn_user_table_new();

	if (!r || !table) {
		mistake(mistakes, 0, "out of memory");
		free(r);
		pn_user_table_free(table);
		return NULL;
	}
	r->table = table;
	r->mistakes = mistakes;
	read_lines(r, fd);
	bool is_good = !r->is_over && (mistakes->count == 0 || keep_going);
	pn_wipe(r, sizeof(*r));
	free(r);
	if (is_good && pn_user_table_seal(table) != 0) {
		mistake(mistakes, 0, "out of memory");
		is_good = false;
	}
	if (!is_good) {
		pn_user_table_free(table);
		table = NULL;
	}
	return table;
}

struct pn_user_table *pn_user_file_read(const char *path, bool keep_going, struct pn_user_mistakes *mistakes,
                                        struct pn_file_stamp *ret_stamp)
{
	struct pn_user_table *table = NULL;
	struct stat st;

	*ret_stamp = (struct pn_file_stamp){ 0 };
	mistakes->count = 0;
	if (mistakes->err)
		mistakes->err->text[0] = '\0';
	/* O_NONBLOCK: opening a FIFO by mistake must not hang. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) != 0) {
		mistake(mistakes, 0,
		        "cannot open the user file: %s; 'postern user add' makes one, and the service user must be "
		        "able "
		        "to read it",
		        strerror(errno));
	} else if (!S_ISREG(st.st_mode)) {
		mistake(mistakes, 0, "the user file is not a regular file; name a file");
	} else {
		*ret_stamp = pn_file_stamp_of(&st);
		table = read_open(fd, keep_going, mistakes);
	}
	if (fd >= 0)
		close(fd);
	close_error(mistakes);
	return table;
}
