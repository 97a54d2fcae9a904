/*
 * json_schema_seen.c
 *		Which members or elements of a value some keyword has looked at: what the
 *		unevaluated keywords need to know, and nobody else.
 */
#include "postgres.h"

#include "log/json.h"
#include "rules/json_schema_parts.h"

/* None of those of a value, which need not have any. */
void
es_seen_init(EsSeen *seen, const JsonbValue *value)
{
	int			count = value->type == jbvBinary ? JsonContainerSize(value->val.binary.data) : 0;

	seen->all = false;
	seen->words = count / 64 + 1;
	seen->bits = seen->room;
	if (seen->words > (int) lengthof(seen->room))
		seen->bits = palloc(seen->words * sizeof(uint64));
	memset(seen->bits, 0, seen->words * sizeof(uint64));
}

void
es_seen_add(EsSeen *seen, int number)
{
	seen->bits[number / 64] |= UINT64CONST(1) << (number % 64);
}

bool
es_seen_has(const EsSeen *seen, int number)
{
	return seen->all || (seen->bits[number / 64] >> (number % 64) & 1) != 0;
}

/* Adds what was seen of the same value elsewhere. */
void
es_seen_merge(EsSeen *seen, const EsSeen *other)
{
	seen->all |= other->all;
	for (int i = 0; i < seen->words; i++)
		seen->bits[i] |= other->bits[i];
}

void
es_seen_free(EsSeen *seen)
{
	if (seen->bits != seen->room)
		pfree(seen->bits);
}
