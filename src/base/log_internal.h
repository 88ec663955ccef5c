/* SPDX-License-Identifier: ISC */
/*
 * log_internal.h - what the three files of the log share: building lines (log.c), the ring
 * (log_ring.c) and the writer thread (log_writer.c).
 */
#ifndef BASE_LOG_INTERNAL_H
#define BASE_LOG_INTERNAL_H

#include <stdatomic.h>

#include <postern/base/counters.h>
#include <postern/base/log.h>

#define PN_LOG_CLASS_COUNT (PN_LOG_DELIVERY + 1)

/* Those of the writer come first and have one writer; those of dropped lines are shared by all
 * threads. */
/* clang-format off */
#define PN_LOG_COUNTERS(X)                                                                  \
	X(lines) X(bytes) X(wakeups) X(write_errors) X(blocked) X(reopens)                    \
	X(dropped_debug) X(dropped_session) X(dropped_info) X(dropped_warn) X(dropped_error) \
	X(dropped_message) X(dropped_delivery)
/* clang-format on */
enum pn_log_counter {
#define X(name) PN_LOG_C_##name,
	PN_LOG_COUNTERS(X)
#undef X
		PN_LOG_COUNTER_COUNT
};

extern pn_counter pn_log_counters[PN_LOG_COUNTER_COUNT];

/* A bounded queue of lines: many producers, one consumer (the writer). */
struct pn_log_slot {
	_Atomic size_t sequence;
	uint16_t len;
	char text[PN_LOG_LINE_MAX];
};

struct pn_log_ring {
	struct pn_log_slot *slots;
	size_t mask;
	_Alignas(PN_CACHE_LINE) _Atomic size_t enqueue_pos;
	_Alignas(PN_CACHE_LINE) _Atomic size_t dequeue_pos;
	/* Lines published since the writer last looked; only the step from 0 wakes it. */
	_Alignas(PN_CACHE_LINE) _Atomic uint32_t unseen;
};

int pn_log_ring_init(struct pn_log_ring *ring, size_t slots) PN_MUST_CHECK;
void pn_log_ring_deinit(struct pn_log_ring *ring);
/* Any thread. False when there is no room for a line of this class. *ret_wake: the writer must be
 * woken. */
bool pn_log_ring_push(struct pn_log_ring *ring, enum pn_log_class class, const char *text,
		      size_t len, bool *ret_wake) PN_MUST_CHECK;
/* The writer. Copies the oldest line to `out` (PN_LOG_LINE_MAX octets) and returns its length; 0
 * when there is none. */
size_t pn_log_ring_pop(struct pn_log_ring *ring, char *out);
/* The writer. True when nothing was published since the last call; then it may sleep until woken.
 */
bool pn_log_ring_may_sleep(struct pn_log_ring *ring);

/* Hands a finished line to the writer thread; false when it does not run. Never blocks. */
bool pn_log_writer_submit(enum pn_log_class class, const char *text, size_t len);

/* Appends the end of the line (and the mark of a cut one) to l->text. */
void pn_log_finish(struct pn_log_line *l);

#endif
