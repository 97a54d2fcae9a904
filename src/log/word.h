/*
 * word.h
 *		The dictionary: words that events repeat, as small ids.
 */
#ifndef ES_LOG_WORD_H
#define ES_LOG_WORD_H

#include "eventsource.h"

/* Id of a word, assigned now if it is new; 0 for NULL. */
extern int32 es_word_id(const text *word);

/* The word of an id, in memory that lasts until the end of the transaction;
 * NULL for 0 and for an id that is not there. */
extern const text *es_word_text(int32 id);

/* The same for several at once. */
extern void es_word_texts(const int32 *ids, const text **words, int count);

/* All ids that a word has got; palloc'd.  They may be several, or none. */
extern int32 *es_word_all_ids(const char *word, int *count);

/* Is the word with this id spelled so? */
extern bool es_word_is(int32 id, const char *word);

extern void es_word_init(void);

#endif							/* ES_LOG_WORD_H */
