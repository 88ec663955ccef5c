/* SPDX-License-Identifier: ISC */
/*
 * clock.c - reading the clocks and writing dates.
 *
 * Dates are written by hand because strftime follows the locale; the zone offset comes from
 * localtime_r. Each thread keeps the text of its last second, since busy threads ask many times
 * within one.
 */
#include <postern/base/clock.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

static uint64_t read_clock_ns(clockid_t id)
{
	struct timespec ts;

	PN_ASSERT(clock_gettime(id, &ts) == 0);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

uint64_t pn_clock_mono_ms(void)
{
	return read_clock_ns(CLOCK_MONOTONIC) / 1000000;
}

uint64_t pn_clock_mono_ns(void)
{
	return read_clock_ns(CLOCK_MONOTONIC);
}

uint64_t pn_clock_wall_ms(void)
{
	return read_clock_ns(CLOCK_REALTIME) / 1000000;
}

/* Times that no calendar of ours can show are shown as the last second of 9999. */
#define WALL_SECONDS_MAX UINT64_C(253402214400)

size_t pn_date_rfc5322(char out[PN_DATE_RFC5322_SIZE], uint64_t wall_ms)
{
	static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
					    "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	static _Thread_local char cached_text[PN_DATE_RFC5322_SIZE];
	static _Thread_local size_t cached_len;
	static _Thread_local time_t cached_seconds;
	uint64_t capped = wall_ms / 1000 < WALL_SECONDS_MAX ? wall_ms / 1000 : WALL_SECONDS_MAX;
	time_t seconds = (time_t)capped;

	if (cached_len == 0 || cached_seconds != seconds) {
		struct tm tm;
		PN_ASSERT(localtime_r(&seconds, &tm) != NULL);
		/* RFC 5322 3.3: east of Greenwich is plus; hours and minutes of the distance
		 * follow. */
		long minutes = (tm.tm_gmtoff < 0 ? -tm.tm_gmtoff : tm.tm_gmtoff) / 60;
		int len = snprintf(cached_text, sizeof(cached_text),
				   "%s, %d %s %04d %02d:%02d:%02d %c%02ld%02ld",
				   days[tm.tm_wday % 7], tm.tm_mday, months[tm.tm_mon % 12],
				   tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec,
				   tm.tm_gmtoff < 0 ? '-' : '+', minutes / 60, minutes % 60);
		PN_ASSERT(len > 0 && (size_t)len < sizeof(cached_text));
		cached_len = (size_t)len;
		cached_seconds = seconds;
	}
	memcpy(out, cached_text, cached_len + 1);
	return cached_len;
}

/* The Gregorian date of a count of days since 1970-01-01, by 400-year eras that begin on 1 March.
 */
static void civil_date(uint64_t days, unsigned *ret_year, unsigned *ret_month, unsigned *ret_day)
{
	uint64_t since_era0 = days + 719468; /* 0000-03-01 to 1970-01-01 */
	unsigned of_era = (unsigned)(since_era0 % 146097);
	unsigned year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	unsigned of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	unsigned march_month = (5 * of_year + 2) / 153;

	*ret_day = of_year - (153 * march_month + 2) / 5 + 1;
	*ret_month = march_month < 10 ? march_month + 3 : march_month - 9;
	*ret_year = (unsigned)(since_era0 / 146097) * 400 + year_of_era + (*ret_month <= 2);
}

size_t pn_date_rfc3339(char out[PN_DATE_RFC3339_SIZE], uint64_t wall_ms)
{
	static _Thread_local char cached_text[PN_DATE_RFC3339_SIZE];
	static _Thread_local uint64_t cached_seconds;
	uint64_t seconds = wall_ms / 1000 < WALL_SECONDS_MAX ? wall_ms / 1000 : WALL_SECONDS_MAX;
	unsigned ms = (unsigned)(wall_ms % 1000);

	if (cached_text[0] == '\0' || cached_seconds != seconds) {
		unsigned year, month, day, of_day = (unsigned)(seconds % 86400);
		char text[64];
		civil_date(seconds / 86400, &year, &month, &day);
		int len = snprintf(text, sizeof(text), "%04u-%02u-%02uT%02u:%02u:%02u.000Z", year,
				   month, day, of_day / 3600, of_day / 60 % 60, of_day % 60);
		PN_ASSERT(len == PN_DATE_RFC3339_SIZE - 1);
		memcpy(cached_text, text, sizeof(cached_text));
		cached_seconds = seconds;
	}
	memcpy(out, cached_text, sizeof(cached_text));
	out[20] = (char)('0' + ms / 100);
	out[21] = (char)('0' + ms / 10 % 10);
	out[22] = (char)('0' + ms % 10);
	return PN_DATE_RFC3339_SIZE - 1;
}
