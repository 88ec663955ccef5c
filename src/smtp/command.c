/* SPDX-License-Identifier: ISC */
/*
 * command.c - verb and arguments of a command line.
 *
 * Every verb but STARTTLS has four letters, so the verb is one 32-bit number and the lookup one switch. Only
 * the space separates (RFC 5321 4.1.1.1 ff.: SP); a TAB is tolerated at the end of the line only.
 */
#include <postern/smtp/command.h>

#define VERB4(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))

const char *pn_verb_name(enum pn_verb verb)
{
	static const char *const names[PN_VERB_COUNT] = { [PN_VERB_UNKNOWN] = "unknown",
#define VERB_NAME(name) [PN_VERB_##name] = #name,
							  PN_VERB_TABLE(VERB_NAME)
#undef VERB_NAME
	};

	PN_ASSERT((unsigned)verb < PN_VERB_COUNT);
	return names[verb];
}

/* Clearing bit 5 maps exactly the two cases of a letter onto its upper case: no other octet becomes one. */
static uint32_t verb_fold(const uint8_t *p)
{
	return VERB4(p[0], p[1], p[2], p[3]) & 0xdfdfdfdfu;
}

static enum pn_verb verb_four(const uint8_t *p)
{
	switch (verb_fold(p)) {
	case VERB4('E', 'H', 'L', 'O'): return PN_VERB_EHLO;
	case VERB4('H', 'E', 'L', 'O'): return PN_VERB_HELO;
	case VERB4('A', 'U', 'T', 'H'): return PN_VERB_AUTH;
	case VERB4('M', 'A', 'I', 'L'): return PN_VERB_MAIL;
	case VERB4('R', 'C', 'P', 'T'): return PN_VERB_RCPT;
	case VERB4('D', 'A', 'T', 'A'): return PN_VERB_DATA;
	case VERB4('B', 'D', 'A', 'T'): return PN_VERB_BDAT;
	case VERB4('R', 'S', 'E', 'T'): return PN_VERB_RSET;
	case VERB4('N', 'O', 'O', 'P'): return PN_VERB_NOOP;
	case VERB4('V', 'R', 'F', 'Y'): return PN_VERB_VRFY;
	case VERB4('E', 'X', 'P', 'N'): return PN_VERB_EXPN;
	case VERB4('H', 'E', 'L', 'P'): return PN_VERB_HELP;
	case VERB4('Q', 'U', 'I', 'T'): return PN_VERB_QUIT;
	default: return PN_VERB_UNKNOWN;
	}
}

enum pn_verb pn_verb_parse(struct pn_slice word)
{
	if (word.len == 4)
		return verb_four(word.ptr);
	if (word.len == 8 && verb_fold(word.ptr) == VERB4('S', 'T', 'A', 'R') &&
	    verb_fold(word.ptr + 4) == VERB4('T', 'T', 'L', 'S'))
		return PN_VERB_STARTTLS;
	return PN_VERB_UNKNOWN;
}

struct pn_slice pn_word_next(struct pn_slice *s)
{
	size_t n = 0;

	while (n < s->len && s->ptr[n] != ' ')
		n++;
	struct pn_slice word = pn_slice(s->ptr, n);
	while (n < s->len && s->ptr[n] == ' ')
		n++;
	pn_slice_advance(s, n);
	return word;
}

void pn_command_parse(struct pn_slice line, struct pn_command *ret)
{
	unsigned high = 0;
	bool has_bad = false;

	for (size_t i = 0; i < line.len; i++) {
		uint8_t c = line.ptr[i];
		high |= c;
		has_bad |= c == '\0' || c == '\r' || c == '\n';
	}
	while (line.len > 0 && (line.ptr[line.len - 1] == ' ' || line.ptr[line.len - 1] == '\t'))
		line.len--;
	ret->has_8bit = (high & 0x80) != 0;
	ret->has_bad_octet = has_bad;
	ret->verb = pn_verb_parse(pn_word_next(&line));
	ret->args = line;
}
