/* SPDX-License-Identifier: ISC */
/* names.c - the known name that was probably meant: edit distance with swapped neighbours, for "did you mean". */
#include <stdio.h>
#include <string.h>

#include "config/config_internal.h"

#define PN_NAME_MAX 48

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;
	return m < c ? m : c;
}

/* Optimal string alignment distance; UINT32_MAX when a name is too long to bother. */
static unsigned distance(const char *a, const char *b)
{
	unsigned rows[3][PN_NAME_MAX + 1];
	size_t alen = strlen(a), blen = strlen(b);

	if (alen > PN_NAME_MAX || blen > PN_NAME_MAX)
		return UINT32_MAX;
	for (size_t j = 0; j <= blen; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= alen; i++) {
		unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= blen; j++) {
			unsigned cost = a[i - 1] != b[j - 1];
			row[j] = min3(above[j] + 1, row[j - 1] + 1, above[j - 1] + cost);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    above2[j - 2] + 1 < row[j])
				row[j] = above2[j - 2] + 1;
		}
	}
	return rows[alen % 3][blen];
}

/* Keeps the better one. A name without its unit (idle_timeout for idle_timeout_s) is always near. */
static void consider(const char *candidate, const char *wrong, const char **best, unsigned *best_distance)
{
	size_t len = strlen(wrong);
	unsigned d = distance(candidate, wrong);

	if (len >= 4 && strncmp(candidate, wrong, len) == 0)
		d = 1;
	if (d < *best_distance && d <= 1 + len / 4) {
		*best = candidate;
		*best_distance = d;
	}
}

const char *pn_config_nearest_key(enum pn_config_section section, const char *wrong)
{
	const char *best = NULL;
	unsigned best_distance = UINT32_MAX;
	size_t first, count;

	pn_config_section_range(section, &first, &count);
	for (size_t i = first; i < first + count; i++)
		consider(pn_config_defs[i].name, wrong, &best, &best_distance);
	return best;
}

const char *pn_config_nearest_section(const char *wrong)
{
	const char *best = NULL;
	unsigned best_distance = UINT32_MAX;

	for (unsigned s = PN_SECTION_TOP + 1; s < PN_SECTION_COUNT; s++)
		consider(pn_config_section_name((enum pn_config_section)s), wrong, &best, &best_distance);
	return best;
}

const char *pn_config_nearest_choice(const char *choices, const char *wrong, char *out, size_t out_size)
{
	const char *best = NULL;
	unsigned best_distance = UINT32_MAX;
	char one[PN_NAME_MAX];

	for (const char *at = choices; *at != '\0';) {
		size_t len = strcspn(at, "|");
		snprintf(one, sizeof(one), "%.*s", (int)len, at);
		const char *found = NULL;
		consider(one, wrong, &found, &best_distance);
		if (found != NULL) {
			snprintf(out, out_size, "%s", one);
			best = out;
		}
		at += len + (at[len] == '|');
	}
	return best;
}
