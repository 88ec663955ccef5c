/* SPDX-License-Identifier: ISC */
/* report.c - mistakes as lines "file:line: what is wrong; what would be right", with a bound on their number. */
#include <stdarg.h>
#include <string.h>

#include "config/config_internal.h"

static void write_line(struct pn_config_build *b, struct pn_config_place place, const char *prefix, const char *fmt,
                       va_list args)
{
	if (b->report == NULL)
		return;
	const char *name = place.file < b->file_count ? b->files[place.file] : "?";
	fprintf(b->report, "%s:%u: %s", name, (unsigned)place.line, prefix);
	vfprintf(b->report, fmt, args);
	fputc('\n', b->report);
}

void pn_config_mistake(struct pn_config_build *b, struct pn_config_place place, const char *fmt, ...)
{
	va_list args;

	b->mistakes++;
	if (b->mistakes > PN_CONFIG_MISTAKES_MAX)
		return;
	va_start(args, fmt);
	write_line(b, place, "", fmt, args);
	va_end(args);
	if (b->mistakes == PN_CONFIG_MISTAKES_MAX && b->report != NULL)
		fprintf(b->report, "%s:%u: more than %d mistakes; the rest is not shown\n",
		        place.file < b->file_count ? b->files[place.file] : "?", (unsigned)place.line,
		        PN_CONFIG_MISTAKES_MAX);
}

void pn_config_warning(struct pn_config_build *b, struct pn_config_place place, const char *fmt, ...)
{
	va_list args;

	if (b->mistakes >= PN_CONFIG_MISTAKES_MAX)
		return;
	va_start(args, fmt);
	write_line(b, place, "warning: ", fmt, args);
	va_end(args);
}

void pn_config_memory_out(struct pn_config_build *b)
{
	b->mistakes++;
	if (!b->is_memory_out && b->report != NULL)
		fputs("out of memory while the configuration was read\n", b->report);
	b->is_memory_out = true;
}

const char *pn_config_key_label(const struct pn_config_build *b, size_t instance, const char *name, char *out,
                                size_t out_size)
{
	const struct pn_config_instance *i = &b->instances[instance];
	const char *section = pn_config_section_name(i->section);

	if (i->section == PN_SECTION_TOP)
		snprintf(out, out_size, "%s", name);
	else if (pn_config_section_has_title(i->section))
		snprintf(out, out_size, "%s \"%s\": %s", section, i->title, name);
	else
		snprintf(out, out_size, "%s.%s", section, name);
	return out;
}

const char *pn_config_shown(const char *text, char *out, size_t out_size)
{
	size_t n = 0;

	for (; text[n] != '\0' && n + 4 < out_size; n++)
		out[n] = (unsigned char)text[n] < ' ' || text[n] == 0x7f ? '?' : text[n];
	memcpy(out + n, text[n] != '\0' ? "..." : "", text[n] != '\0' ? 4 : 1);
	return out;
}
