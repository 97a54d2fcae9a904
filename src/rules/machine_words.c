/*
 * machine_words.c
 *		Small sets of words, numbered: states, event types and reason codes of
 *		one machine.
 *
 * Built once, in the memory context that is current then, and only read
 * afterwards.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "rules/machine_table.h"
#include "utils/builtins.h"

/* Words that a message names at most. */
#define WORDS_LISTED	30

static int	find_slot(const EsWordSet *words, const char *bytes, int length);
static void grow(EsWordSet *words);

/* The number of a word, which is added if it is not there yet. */
int
es_words_add(EsWordSet *words, const char *bytes, int length)
{
	int			slot;

	if (words->nslots == 0 || words->count >= words->nslots / 2)
		grow(words);
	slot = find_slot(words, bytes, length);
	if (words->slot[slot] == 0)
	{
		words->word[words->count] = cstring_to_text_with_len(bytes, length);
		words->slot[slot] = ++words->count;
	}
	return words->slot[slot] - 1;
}

/* The number of a word, or -1. */
int
es_words_find(const EsWordSet *words, const text *word)
{
	if (words->nslots == 0)
		return -1;
	return words->slot[find_slot(words, VARDATA_ANY(word), VARSIZE_ANY_EXHDR(word))] - 1;
}

/*
 * The words, or those whose numbers are members, for a message; cut off after
 * a number that one can still read.
 */
char *
es_words_list(const EsWordSet *words, const Bitmapset *members)
{
	StringInfoData list;
	int			listed = 0;
	int			left = 0;

	initStringInfo(&list);
	for (int i = 0; i < words->count; i++)
	{
		if (members != NULL && !bms_is_member(i, members))
			continue;
		if (listed == WORDS_LISTED)
		{
			left++;
			continue;
		}
		appendStringInfo(&list, "%s%s", listed > 0 ? ", " : "",
						 text_to_cstring(words->word[i]));
		listed++;
	}
	if (left > 0)
		appendStringInfo(&list, " and %d more", left);
	return list.data;
}

/* Where the word is, or would be put. */
static int
find_slot(const EsWordSet *words, const char *bytes, int length)
{
	int			mask = words->nslots - 1;
	int			slot = hash_bytes((const unsigned char *) bytes, length) & mask;

	while (words->slot[slot] != 0)
	{
		const text *word = words->word[words->slot[slot] - 1];

		if (VARSIZE_ANY_EXHDR(word) == (Size) length &&
			memcmp(VARDATA_ANY(word), bytes, length) == 0)
			break;
		slot = (slot + 1) & mask;
	}
	return slot;
}

static void
grow(EsWordSet *words)
{
	words->nslots = words->nslots == 0 ? 16 : words->nslots * 2;
	words->slot = palloc0(words->nslots * sizeof(int));
	if (words->word == NULL)
		words->word = palloc(words->nslots * sizeof(text *));
	else
		words->word = repalloc(words->word, words->nslots * sizeof(text *));
	for (int i = 0; i < words->count; i++)
	{
		const text *word = words->word[i];

		words->slot[find_slot(words, VARDATA_ANY(word), VARSIZE_ANY_EXHDR(word))] = i + 1;
	}
}
