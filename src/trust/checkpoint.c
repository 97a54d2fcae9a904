/*
 * checkpoint.c
 *		Checkpoints: how large the log's tree is, and its root, as text.
 *
 *	eventsource/log/<log id>
 *	<number of leaves>
 *	<root, base64>
 *
 * each line ended by a newline: the body of C2SP's tlog-checkpoint, to be signed
 * and kept by somebody else.  Keys never come here, and signatures are not looked
 * at: who hands a checkpoint in has checked that it is his.
 */
#include "trust/checkpoint.h"

#include "common/base64.h"
#include "errors.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "log/open.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#define ORIGIN		"eventsource/log/"
#define ROOT_CHARS	44			/* of ES_HASH_SIZE bytes, padded */

static char *
make_origin(void)
{
	return psprintf(ORIGIN "%s", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(es_log_id()))));
}

text *
es_checkpoint_form(int64 size, const uint8 *root)
{
	StringInfoData buf;
	char		encoded[ROOT_CHARS + 1] = {0};

	if (pg_b64_encode((const void *) root, ES_HASH_SIZE, encoded, ROOT_CHARS) != ROOT_CHARS)
		elog(ERROR, "could not encode a hash");
	initStringInfo(&buf);
	appendStringInfo(&buf, "%s\n" INT64_FORMAT "\n%s\n", make_origin(), size, encoded);
	return cstring_to_text_with_len(buf.data, buf.len);
}

/* The line at a place, which moves behind it; NULL if none ends there. */
static char *
next_line(char **place)
{
	char	   *line = *place;
	char	   *end = strchr(line, '\n');

	if (end == NULL)
		return NULL;
	*end = '\0';
	*place = end + 1;
	return line;
}

/* Decimal digits, as few as possible. */
static bool
parse_size(const char *line, int64 *size)
{
	size_t		len = strlen(line);

	if (len == 0 || len > 18 || strspn(line, "0123456789") != len || (line[0] == '0' && len > 1))
		return false;
	*size = strtoll(line, NULL, 10);
	return true;
}

static bool
parse_root(const char *line, uint8 *root)
{
	char		again[ROOT_CHARS + 1] = {0};

	/* What decodes to the same bytes is not always the same text. */
	return strlen(line) == ROOT_CHARS &&
		pg_b64_decode(line, ROOT_CHARS, (void *) root, ES_HASH_SIZE) == ES_HASH_SIZE &&
		pg_b64_encode((const void *) root, ES_HASH_SIZE, again, ROOT_CHARS) == ROOT_CHARS &&
		strcmp(line, again) == 0;
}

void
es_checkpoint_parse(const text *checkpoint, int64 *size, uint8 *root)
{
	char	   *place = text_to_cstring(checkpoint);
	char	   *origin = next_line(&place);
	char	   *size_line = origin == NULL ? NULL : next_line(&place);
	char	   *root_line = size_line == NULL ? NULL : next_line(&place);

	if (root_line == NULL || !parse_size(size_line, size) || !parse_root(root_line, root))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("this is not a checkpoint"),
				 errdetail("A checkpoint has three lines: the log, the number of its leaves, and the root in base64, each with a newline at its end."),
				 errhint("Hand in what eventsource.checkpoint() returned, with or without the signatures of a signed note.")));
	if (strcmp(origin, make_origin()) != 0)
		ereport(ERROR,
				(errcode(ES_ERRCODE_LOG_DIVERGED),
				 errmsg("the checkpoint is one of another log"),
				 errdetail("It names \"%s\", and this log is \"%s\".", origin, make_origin()),
				 errhint("A log keeps its identity when it is dumped, restored and upgraded.")));
}
