/*
 * erasing.h
 *		What is at hand while a subject is erased, and who takes part in it.
 *
 * Each room clears what it keeps itself; it registers at load how.
 */
#ifndef ES_LOG_ERASING_H
#define ES_LOG_ERASING_H

#include "log/erased.h"
#include "log/tombstone.h"
#include "nodes/pg_list.h"

typedef struct EsErasing
{
	const text *subject;
	EsErasedMode mode;			/* ES_ERASED_NOT: it is restored */
	EsAbout    *events;			/* all about the subject, in order of position */
	int64		count;
	int64	   *streams;		/* that they are in, in order of their ids;
								 * locked */
	int			n_streams;
	List	  **touched;		/* tables that old versions of rows stay in */
} EsErasing;

/* What is cleared, in the order of registration. */
typedef struct EsEraser
{
	const char *target;			/* as reports call it */

	/* Before anything is changed, NULL: nothing is to be done then. */
	void	   *(*prepare) (const EsErasing *erasing);

	/* Returns how much was cleared.  state: what prepare() returned, or NULL. */
	int64		(*erase) (const EsErasing *erasing, void *state);
} EsEraser;

/* What is pointed to stays. */
extern void es_eraser_register(const EsEraser *eraser);

/* List of EsEraser. */
extern List *es_eraser_list(void);

/* Is an event one of those about the subject? */
extern const EsAbout *es_erasing_find(const EsErasing *erasing, int64 position);

/*
 * Says that rows of a table were taken away or written anew: what they were stays in
 * its files until it is rewritten.
 */
extern void es_erasing_touch(const EsErasing *erasing, Oid table);

/*
 * Likewise of a table whose rows come and go: one that held something may be gone
 * since long, and is in the file still.  Unless the table never had a row.
 */
extern void es_erasing_touch_used(const EsErasing *erasing, Oid table);

extern void es_erasing_init(void);

/* Is nothing left of the payload? */
static inline bool
es_erasing_is_hard(const EsErasing *erasing)
{
	return erasing->mode == ES_ERASED_HARD;
}

/* Is it for good? */
static inline bool
es_erasing_is_final(const EsErasing *erasing)
{
	return erasing->mode >= ES_ERASED_ANONYMIZE;
}

#endif							/* ES_LOG_ERASING_H */
