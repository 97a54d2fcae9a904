/*
 * store_journal.h
 *		What belongs to a part of a store, put aside in a temporary file: rows,
 *		events that are yet to be folded into them, what the table has.
 */
#ifndef ES_PROJECT_STORE_JOURNAL_H
#define ES_PROJECT_STORE_JOURNAL_H

#include "project/fold_row.h"

typedef enum EsEntryKind
{
	ES_ENTRY_ROW,				/* of the fold, in place of what it had */
	ES_ENTRY_EVENT,				/* a row of the log */
	ES_ENTRY_TABLE				/* a row of the table, to compare with */
} EsEntryKind;

typedef struct EsEntry
{
	EsEntryKind kind;
	bool		is_gone;		/* of a row: "now" has its key alone */
	bool		compared;		/* of a row, as in EsRow; likewise those below */
	int64		last_position;
	int64		parted_at;
	HeapTuple	now;			/* the row, or the event */
	HeapTuple	found;			/* of a row, or what the table has; or NULL */
} EsEntry;

typedef struct EsJournal EsJournal;

/* Empty, in the current memory context. */
extern EsJournal *es_journal_begin(void);

extern void es_journal_write(EsJournal *journal, const EsEntry *entry);

/*
 * The entries in the order in which they were written; false at the end.  Tuples
 * come in the current memory context.  Once reading has begun, none is written.
 */
extern bool es_journal_read(EsJournal *journal, EsEntry *entry);

extern void es_journal_end(EsJournal *journal);

#endif							/* ES_PROJECT_STORE_JOURNAL_H */
