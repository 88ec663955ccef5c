/* SPDX-License-Identifier: ISC */
/* clock.h - the two clocks. Timers use the monotonic one; what is persisted uses wall time. */
#ifndef POSTERN_BASE_CLOCK_H
#define POSTERN_BASE_CLOCK_H

#include <postern/base/common.h>

/* Any thread. */
uint64_t pn_clock_mono_ms(void);
uint64_t pn_clock_mono_ns(void);
/* Milliseconds since 1970-01-01 UTC. */
uint64_t pn_clock_wall_ms(void);

#define PN_DATE_RFC5322_SIZE 40
/* RFC 5322 3.3 date-time with a numeric zone (local zone offset), NUL-terminated. Returns its
 * length. */
size_t pn_date_rfc5322(char out[PN_DATE_RFC5322_SIZE], uint64_t wall_ms);

#define PN_DATE_RFC3339_SIZE 25
/* RFC 3339 5.6 in UTC with milliseconds (2026-01-31T12:34:56.789Z), NUL-terminated. Returns its
 * length. */
size_t pn_date_rfc3339(char out[PN_DATE_RFC3339_SIZE], uint64_t wall_ms);

#endif
