/* SPDX-License-Identifier: ISC */
/* distribution.c - see distribution.h. */
#include "distribution.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool pn_bench_size_parse(const char *text, const char **ret_end, uint64_t *ret_bytes)
{
	char *end;
	uint64_t unit = 1;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	if (*end == 'K' || *end == 'M') {
		unit = *end == 'K' ? 1024 : 1024 * 1024;
		end++;
	}
	if (errno != 0 || n > UINT64_MAX / unit)
		return false;
	*ret_bytes = n * unit;
	*ret_end = end;
	return true;
}

static bool in_range(uint64_t bytes)
{
	return bytes >= PN_BENCH_SIZE_MIN_BYTES && bytes <= PN_BENCH_SIZE_MAX_BYTES;
}

static bool parse_lognormal(struct pn_bench_distribution *d, const char *text)
{
	uint64_t median;
	char *end;

	if (!pn_bench_size_parse(text, &text, &median) || *text != ':' || !in_range(median))
		return false;
	d->kind = PN_BENCH_SIZE_LOGNORMAL;
	d->median_bytes = (double)median;
	d->sigma = strtod(text + 1, &end);
	return end != text + 1 && !*end && isfinite(d->sigma) && d->sigma > 0 && d->sigma <= 5;
}

static bool parse_weighted(struct pn_bench_distribution *d, const char *text)
{
	char *end;

	d->kind = PN_BENCH_SIZE_WEIGHTED;
	for (;; text++) {
		uint64_t bytes;
		if (d->choice_count == PN_BENCH_SIZE_CHOICES_MAX ||
		    !pn_bench_size_parse(text, &text, &bytes) || *text != '*' || !in_range(bytes))
			return false;
		errno = 0;
		unsigned long weight = text[1] == '-' ? 0 : strtoul(text + 1, &end, 10);
		if (weight == 0 || weight > 1000000 || errno != 0)
			return false;
		d->choices[d->choice_count].size_bytes = bytes;
		d->choices[d->choice_count++].weight = weight;
		d->weight_sum += weight;
		text = end;
		if (*text != ',')
			return !*text;
	}
}

bool pn_bench_distribution_parse(struct pn_bench_distribution *ret, const char *text)
{
	static const char lognormal[] = "lognormal:";
	const char *at = text;

	memset(ret, 0, sizeof(*ret));
	if (strncmp(text, lognormal, sizeof(lognormal) - 1) == 0)
		return parse_lognormal(ret, text + sizeof(lognormal) - 1);
	if (strchr(text, '*'))
		return parse_weighted(ret, text);
	if (!pn_bench_size_parse(at, &at, &ret->min_bytes))
		return false;
	ret->max_bytes = ret->min_bytes;
	if (*at == '-' && !pn_bench_size_parse(at + 1, &at, &ret->max_bytes))
		return false;
	return !*at && in_range(ret->min_bytes) && in_range(ret->max_bytes) &&
	       ret->min_bytes <= ret->max_bytes;
}

double pn_bench_unit_draw(struct pn_prng *prng)
{
	/* 53 bits, and never 0: the logarithm is taken of it. */
	return ((double)(pn_prng_next(prng) >> 11) + 0.5) / 9007199254740992.0;
}

static uint64_t draw_lognormal(const struct pn_bench_distribution *d, struct pn_prng *prng)
{
	/* Box and Muller */
	double radius = sqrt(-2 * log(pn_bench_unit_draw(prng)));
	double normal = radius * cos(2 * 3.14159265358979323846 * pn_bench_unit_draw(prng));
	double bytes = d->median_bytes * exp(d->sigma * normal);

	if (bytes < PN_BENCH_SIZE_MIN_BYTES)
		return PN_BENCH_SIZE_MIN_BYTES;
	return bytes > PN_BENCH_LOGNORMAL_CUT_BYTES ? PN_BENCH_LOGNORMAL_CUT_BYTES
						    : (uint64_t)bytes;
}

uint64_t pn_bench_distribution_draw(const struct pn_bench_distribution *d, struct pn_prng *prng)
{
	uint64_t at;

	switch (d->kind) {
	case PN_BENCH_SIZE_LOGNORMAL:
		return draw_lognormal(d, prng);
	case PN_BENCH_SIZE_WEIGHTED:
		at = pn_prng_below(prng, d->weight_sum);
		for (size_t i = 0; i < d->choice_count; i++) {
			if (at < d->choices[i].weight)
				return d->choices[i].size_bytes;
			at -= d->choices[i].weight;
		}
		break;
	case PN_BENCH_SIZE_UNIFORM:
		break;
	}
	return d->min_bytes + pn_prng_below(prng, d->max_bytes - d->min_bytes + 1);
}

uint64_t pn_bench_distribution_max(const struct pn_bench_distribution *d)
{
	uint64_t max =
		d->kind == PN_BENCH_SIZE_LOGNORMAL ? PN_BENCH_LOGNORMAL_CUT_BYTES : d->max_bytes;

	for (size_t i = 0; i < d->choice_count; i++)
		max = d->choices[i].size_bytes > max ? d->choices[i].size_bytes : max;
	return max;
}
