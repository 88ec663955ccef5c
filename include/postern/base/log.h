/* SPDX-License-Identifier: ISC */
/*
 * log.h - structured log lines (logfmt or JSON) through a lock-free ring to one writer thread.
 *
 * Logs are audit evidence. A line is built on the caller's stack and copied into a ring slot; the
 * caller never blocks and never does I/O. When the ring is full, PN_LOG_DEBUG and PN_LOG_SESSION
 * lines are dropped first (and how many is logged later); PN_LOG_MESSAGE and PN_LOG_DELIVERY have
 * reserved slots; only when even those are used up are they dropped, counted apart. Peer text is
 * escaped. A blocked or full output never stops mail. Before pn_log_start (and after pn_log_stop)
 * lines go straight to stderr.
 */
#ifndef POSTERN_BASE_LOG_H
#define POSTERN_BASE_LOG_H

#include <postern/base/common.h>
#include <postern/base/id.h>
#include <postern/base/slice.h>

enum pn_log_class {
	PN_LOG_DEBUG,
	PN_LOG_SESSION,
	PN_LOG_INFO,
	PN_LOG_WARN,
	PN_LOG_ERROR,
	PN_LOG_MESSAGE,
	PN_LOG_DELIVERY,
};

enum pn_log_format { PN_LOG_LOGFMT, PN_LOG_JSON };

struct pn_log_settings {
	enum pn_log_format format;
	enum pn_log_class level_min; /* PN_LOG_DEBUG shows all; PN_LOG_INFO hides DEBUG (SESSION is
					always shown) */
	int fd; /* where lines go (taken by pn_log_start, opened to append); -1: stderr */
	uint32_t ring_slots; /* a power of two */
};

/* Starts the writer thread (call after fork and after dropping privileges). 0, or -errno and the
 * descriptor is still the caller's. */
int pn_log_start(const struct pn_log_settings *settings) PN_MUST_CHECK;
/* Sets format and level only. Any time; lines that were begun keep their format. */
void pn_log_configure(const struct pn_log_settings *settings);
/* Drains and joins the writer, bounded to two seconds when the output is blocked. */
void pn_log_stop(void);
/* The writer goes on there (a rotated file, another one): takes the descriptor; -1: stderr. Any thread. A line of
 * which only the beginning is out is written again, whole. */
void pn_log_set_output(int fd);

#define PN_LOG_LINE_MAX 2048

struct pn_log_line {
	enum pn_log_class class;
	bool is_suppressed; /* below level_min: all calls are no-ops */
	bool is_truncated;
	bool is_json;
	uint16_t len;
	char text[PN_LOG_LINE_MAX];
};

/* Starts a line: time, level and event name (a literal such as "message"). Any thread. */
void pn_log_begin(struct pn_log_line *l, enum pn_log_class class, const char *event);
/* One key (a literal) and value. Values are escaped; what does not fit is cut and marked. */
void pn_log_slice(struct pn_log_line *l, const char *key, struct pn_slice value);
void pn_log_str(struct pn_log_line *l, const char *key, const char *value);
void pn_log_u64(struct pn_log_line *l, const char *key, uint64_t value);
void pn_log_id(struct pn_log_line *l, const char *key, const struct pn_id *id);
/* Hands the line to the ring. */
void pn_log_end(struct pn_log_line *l);

/* A whole line with one key msg= ; the everyday call. Any thread. */
void pn_logf(enum pn_log_class class, const char *event, const char *fmt, ...) PN_PRINTF(3, 4);

#endif
