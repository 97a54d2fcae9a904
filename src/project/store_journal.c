/*
 * store_journal.c
 *		Entries of a store in a temporary file, written once and read once.
 *
 * The file is made by the first entry, under the limits and in the tablespaces
 * for temporary files, and belongs to the resource owner of then: an error takes
 * it away.  It costs a buffer of 8 kB.  Values that are out of line in the log or
 * the table stay there, so the snapshot they were read under has to last.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "compat.h"
#include "project/store_journal.h"
#include "utils/memutils.h"

struct EsJournal
{
	BufFile    *file;			/* NULL: nothing was written */
	bool		is_read;
};

/* What stands before the tuples of an entry. */
typedef struct EntryHead
{
	int64		last_position;
	int64		parted_at;
	uint32		now;			/* lengths, 0: none */
	uint32		found;
	ItemPointerData found_at;	/* its place in the table */
	uint8		kind;
	bool		is_gone;
	bool		compared;
} EntryHead;

static void create_file(EsJournal *journal);
static void write_tuple(EsJournal *journal, HeapTuple tuple);
static HeapTuple read_tuple(EsJournal *journal, uint32 length);

EsJournal *
es_journal_begin(void)
{
	return palloc0(sizeof(EsJournal));
}

void
es_journal_write(EsJournal *journal, const EsEntry *entry)
{
	EntryHead	head;

	Assert(!journal->is_read);
	memset(&head, 0, sizeof(head));
	head.last_position = entry->last_position;
	head.parted_at = entry->parted_at;
	head.now = entry->now == NULL ? 0 : entry->now->t_len;
	head.found = entry->found == NULL ? 0 : entry->found->t_len;
	if (entry->found != NULL)
		head.found_at = entry->found->t_self;
	head.kind = entry->kind;
	head.is_gone = entry->is_gone;
	head.compared = entry->compared;
	if (journal->file == NULL)
		create_file(journal);
	BufFileWrite(journal->file, &head, sizeof(head));
	write_tuple(journal, entry->now);
	write_tuple(journal, entry->found);
}

bool
es_journal_read(EsJournal *journal, EsEntry *entry)
{
	EntryHead	head;

	if (journal->file == NULL)
		return false;
	if (!journal->is_read && BufFileSeek(journal->file, 0, 0, SEEK_SET) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not rewind a temporary file of a rebuild: %m")));
	journal->is_read = true;
	if (!es_compat_read_file(journal->file, &head, sizeof(head)))
		return false;
	entry->kind = head.kind;
	entry->is_gone = head.is_gone;
	entry->compared = head.compared;
	entry->last_position = head.last_position;
	entry->parted_at = head.parted_at;
	entry->now = read_tuple(journal, head.now);
	entry->found = read_tuple(journal, head.found);
	if (entry->found != NULL)
		entry->found->t_self = head.found_at;
	return true;
}

void
es_journal_end(EsJournal *journal)
{
	if (journal->file != NULL)
		BufFileClose(journal->file);
	pfree(journal);
}

/* As lasting as the journal. */
static void
create_file(EsJournal *journal)
{
	MemoryContext caller = MemoryContextSwitchTo(GetMemoryChunkContext(journal));

	journal->file = BufFileCreateTemp(false);
	MemoryContextSwitchTo(caller);
}

static void
write_tuple(EsJournal *journal, HeapTuple tuple)
{
	if (tuple != NULL)
		BufFileWrite(journal->file, tuple->t_data, tuple->t_len);
}

static HeapTuple
read_tuple(EsJournal *journal, uint32 length)
{
	HeapTuple	tuple;

	if (length == 0)
		return NULL;
	tuple = palloc0(HEAPTUPLESIZE + length);
	tuple->t_len = length;
	tuple->t_data = (HeapTupleHeader) ((char *) tuple + HEAPTUPLESIZE);
	ItemPointerSetInvalid(&tuple->t_self);
	if (!es_compat_read_file(journal->file, tuple->t_data, length))
		elog(ERROR, "a temporary file of a rebuild ends in the midst of a row");
	return tuple;
}
