/* SPDX-License-Identifier: ISC */
/*
 * config_internal.h - what the files of src/config share.
 *
 * The way of a file: source.c reads octets -> scan.c cuts them into tokens with their lines -> statement.c
 * puts tokens together to sections and keys, follows includes and reports what does not belong -> confuse.c
 * has libConfuse read the cleaned text (quoting, ${ENV}, lists) -> value.c puts values into the structs ->
 * cross.c compares keys with each other -> files.c looks at the disk. Each step goes on after a mistake;
 * only a syntax error ends the reading, and what stands before it is checked still.
 *
 * Why a scanner in front of libConfuse: libConfuse 3.3 stops at the first mistake, counts wrong lines after
 * a comment, drops characters that it does not know, and keeps its state after an unterminated string. It
 * never gets to see any of these.
 */
#ifndef PN_CONFIG_INTERNAL_H
#define PN_CONFIG_INTERNAL_H

#include <postern/config/config.h>

#define PN_CONFIG_FILE_MAX_BYTES (4u << 20)  /* of one file */
#define PN_CONFIG_TOTAL_MAX_BYTES (16u << 20) /* with all includes */
#define PN_CONFIG_INCLUDE_DEPTH_MAX 10
#define PN_CONFIG_INCLUDES_MAX 1000
#define PN_CONFIG_STRING_MAX_BYTES 4095
#define PN_CONFIG_LIST_MAX 10000 /* more than any range allows */
#define PN_CONFIG_MISTAKES_MAX 200
#define PN_CONFIG_SECTION_KEYS_MAX 32
#define PN_CONFIG_TITLE_MAX 64

enum pn_config_section {
	PN_SECTION_TOP,
	PN_SECTION_LISTENER,
	PN_SECTION_CERTIFICATE,
	PN_SECTION_UPSTREAM,
	PN_SECTION_TLS,
	PN_SECTION_AUTH,
	PN_SECTION_SPOOL,
	PN_SECTION_RETRY,
	PN_SECTION_LIMITS,
	PN_SECTION_EXTENSIONS,
	PN_SECTION_LOG,
	PN_SECTION_IO_URING,
	PN_SECTION_COUNT
};

enum pn_config_type {
	PN_TYPE_BOOL,
	PN_TYPE_INTEGER,
	PN_TYPE_SIZE,
	PN_TYPE_STRING,
	PN_TYPE_LIST,
	PN_TYPE_ENUM,
};

/* What a string, or each item of a list, has to look like: name, what would be right. */
#define PN_CONFIG_CHECKS(X)                                                                                        \
	X(TEXT, "printable text")                                                                                  \
	X(HOSTNAME_OR_NONE, "a host name such as mail.example.org, or \"\"")                                       \
	X(MAILBOX_OR_NONE, "an address such as postmaster@example.org, or \"\"")                                   \
	X(USER_OR_NONE, "a system account name such as postern, or \"\"")                                          \
	X(NAME_OR_NONE, "a name of letters, digits, '.', '-' and '_', or \"\"")                                    \
	X(PATH, "an absolute path")                                                                                \
	X(PATH_OR_NONE, "an absolute path, or \"\"")                                                               \
	X(SOCKET_PATH, "an absolute path of at most 107 octets")                                                   \
	X(LISTEN_ADDRESS, "\"[::]:465\", \"192.0.2.1:465\" or \"*:465\" (a numeric address and a port)")           \
	X(UPSTREAM_HOST, "\"mx.example.org:25\", \"192.0.2.1:25\" or \"[2001:db8::1]:25\", or with \" weight=2\"") \
	X(DOMAIN, "a domain such as example.org, or .example.org for all below it")                                \
	X(FEATURE, "one of the features that `postern --version` lists")
enum pn_config_check {
#define X(name, text) PN_CHECK_##name,
	PN_CONFIG_CHECKS(X)
#undef X
};

/* One line of keys.def. */
struct pn_config_def {
	enum pn_config_section section;
	enum pn_config_type type;
	enum pn_config_check check;
	bool is_required;
	bool is_power_of_two;
	uint32_t offset;       /* into pn_config, or into the struct of a titled section */
	uint32_t count_offset; /* lists */
	uint32_t width;        /* of the member, bytes */
	const char *name;
	const char *default_text;
	const char *min_text; /* numbers; lists: items */
	const char *max_text;
	const char *choices; /* enums: "a|b|c" */
	const char *unit;
};

/* table.c */
extern const struct pn_config_def pn_config_defs[];
extern const size_t pn_config_def_count;
const char *pn_config_section_name(enum pn_config_section section);
bool pn_config_section_has_title(enum pn_config_section section);
/* The keys of a section stand together: index of the first, and how many. */
void pn_config_section_range(enum pn_config_section section, size_t *ret_first, size_t *ret_count);
/* NULL: no such key. */
const struct pn_config_def *pn_config_def_find(enum pn_config_section section, const char *name);
/* The most that a config may have of a titled section. */
size_t pn_config_section_max(enum pn_config_section section);
/* Where the keys of the index-th section of this kind are. */
void *pn_config_section_base(const struct pn_config *c, enum pn_config_section section, size_t index);
size_t pn_config_section_instances(const struct pn_config *c, enum pn_config_section section);
/* canonical.c: of a section that has one. */
const char *pn_config_section_title(const struct pn_config *c, enum pn_config_section section, size_t index);

/* names.c: the known name that `wrong` was probably meant to be, or NULL. */
const char *pn_config_nearest_key(enum pn_config_section section, const char *wrong);
const char *pn_config_nearest_section(const char *wrong);
const char *pn_config_nearest_choice(const char *choices, const char *wrong, char *out, size_t out_size);

struct pn_config_place {
	uint32_t file; /* index into files */
	uint32_t line;
};

/* One value as written, and what libConfuse made of it. */
struct pn_config_word {
	char *raw;
	char *text;
	struct pn_config_place place;
};

/* key = value */
struct pn_config_statement {
	const struct pn_config_def *def;
	size_t instance; /* index into instances */
	struct pn_config_place place;
	struct pn_config_word *words;
	size_t word_count;
	bool is_list;  /* written with braces */
	bool is_wrong; /* reported already: no comparisons with it */
};

/* A section of the file; instance 0 is the top level. Parts of an untitled section are one instance. */
struct pn_config_instance {
	enum pn_config_section section;
	size_t index; /* among those of its kind */
	struct pn_config_place place;
	char title[PN_CONFIG_TITLE_MAX + 1];
	uint32_t statement[PN_CONFIG_SECTION_KEYS_MAX]; /* by key of the section: index + 1, 0 = not set */
};

/* One reading of a configuration. */
struct pn_config_build {
	FILE *report;
	size_t mistakes;
	bool is_memory_out;
	bool is_syntax_broken; /* the rest was not read: nothing is said about what is missing */
	bool has_includes;     /* allowed */
	char **files;
	size_t file_count;
	size_t total_bytes;
	struct pn_config_instance *instances;
	size_t instance_count, instance_cap;
	struct pn_config_statement *statements;
	size_t statement_count, statement_cap;
	struct pn_config *config;
};

/* report.c */
void pn_config_mistake(struct pn_config_build *b, struct pn_config_place place, const char *fmt, ...) PN_PRINTF(3, 4);
void pn_config_warning(struct pn_config_build *b, struct pn_config_place place, const char *fmt, ...) PN_PRINTF(3, 4);
void pn_config_memory_out(struct pn_config_build *b);
/* "limits.idle_timeout_s", "upstream \"mta\": tls", "hostname": for messages. Borrowed from out. */
const char *pn_config_key_label(const struct pn_config_build *b, size_t instance, const char *name, char *out,
                                size_t out_size);
/* `text` cut and without control characters, for messages. */
const char *pn_config_shown(const char *text, char *out, size_t out_size);
#define PN_CONFIG_LABEL_BYTES 192
#define PN_CONFIG_SHOWN_BYTES 80

/* source.c */
struct pn_config_source {
	uint32_t file;
	char *text; /* NUL-terminated, no NUL inside */
	size_t len;
	uint64_t device, inode;
	struct pn_config_source *includer;
	unsigned depth;
};
/* Takes note of a file name. Its index, or UINT32_MAX without memory. */
uint32_t pn_config_file_add(struct pn_config_build *b, const char *name);
/* Reads path into *s; reports at `place` and returns false when it cannot. */
bool pn_config_source_read(struct pn_config_build *b, const char *path, struct pn_config_place place,
                           struct pn_config_source *includer, struct pn_config_source *s);
void pn_config_source_free(struct pn_config_source *s);

/* scan.c */
enum pn_config_token_kind {
	PN_TOKEN_END,
	PN_TOKEN_WORD,   /* without quotes */
	PN_TOKEN_STRING, /* with quotes, or ${NAME} */
	PN_TOKEN_MARK,   /* one of { } ( ) = , */
	PN_TOKEN_BROKEN, /* reported; reading cannot go on */
};
struct pn_config_token {
	enum pn_config_token_kind kind;
	char mark;
	const char *start; /* into the source */
	size_t len;
	struct pn_config_place place;
};
struct pn_config_scanner {
	struct pn_config_build *build;
	const char *at, *end;
	struct pn_config_place place;
};
void pn_config_scan_init(struct pn_config_scanner *s, struct pn_config_build *b, const struct pn_config_source *source);
struct pn_config_token pn_config_scan_next(struct pn_config_scanner *s);

/* statement.c: fills instances and statements. */
void pn_config_statements_read(struct pn_config_build *b, struct pn_config_source *source);
/* Where a key was set, else where its section begins. */
struct pn_config_place pn_config_place_of(const struct pn_config_build *b, size_t instance, const char *name);
const struct pn_config_statement *pn_config_statement_of(const struct pn_config_build *b, size_t instance,
                                                         const char *name);
/* The first instance of a section; SIZE_MAX: not in the file. */
size_t pn_config_instance_of(const struct pn_config_build *b, enum pn_config_section section, size_t index);

/* confuse.c: fills the text of every word. False: reported. */
bool pn_config_decode(struct pn_config_build *b);

/* value.c */
bool pn_config_number_parse(const char *text, bool is_size, uint64_t *ret);
uint64_t pn_config_def_min(const struct pn_config_def *def);
uint64_t pn_config_def_max(const struct pn_config_def *def);
/* What would be right for this key, e.g. "write a number of seconds from 1 to 3600". Borrowed from out. */
const char *pn_config_expected(const struct pn_config_def *def, char *out, size_t out_size);
uint64_t pn_config_number_get(const struct pn_config_def *def, const void *base);
void pn_config_number_set(const struct pn_config_def *def, void *base, uint64_t value);
/* Makes the arrays of sections, puts in defaults and then every statement. False: no memory. */
bool pn_config_values_set(struct pn_config_build *b);

/* check.c: is `text` what `check` asks for? */
bool pn_config_text_check(enum pn_config_check check, const char *text);
const char *pn_config_check_text(enum pn_config_check check);
bool pn_config_hostname_check(const char *text);

/* cross.c: fills in what follows from other keys, then compares. */
void pn_config_follow_ups(struct pn_config_build *b);
void pn_config_cross_check(struct pn_config_build *b);

/* sections.c: listeners, certificates and upstreams among each other. */
void pn_config_sections_check(struct pn_config_build *b);

/* files.c */
void pn_config_files_check(struct pn_config_build *b);

#endif
