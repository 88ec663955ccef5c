/* SPDX-License-Identifier: ISC */
/* print_keys.c - the table of keys, one line each with tabs between: for tests/tidy/check_config_docs.py. */
#include <postern/config/config.h>

int main(void)
{
	size_t count;
	const struct pn_config_key *keys = pn_config_keys(&count);

	for (size_t i = 0; i < count; i++)
		printf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", keys[i].section, keys[i].name, keys[i].type,
		       keys[i].default_text, keys[i].range_text, keys[i].unit, keys[i].is_required ? "needed" : "",
		       pn_config_key_needs_restart(&keys[i]) ? "restart" : "", keys[i].help);
	return 0;
}
