/*
 * writer.h
 *		The newest segment, open for reading heads and writing rows.
 */
#ifndef ES_LOG_WRITER_H
#define ES_LOG_WRITER_H

#include "eventsource.h"
#include "log/stream.h"

typedef struct EsWriter EsWriter;

/* Lives in the current memory context; nothing is opened yet. */
extern EsWriter *es_writer_begin(void);

/*
 * Reads the head of a stream, newest committed or ours.  The stream must be
 * locked.  Under REPEATABLE READ and above a head that the transaction's
 * snapshot cannot see is an error (40001).
 */
extern void es_writer_read_head(EsWriter *writer, const EsStream *stream, EsHead *head);

/* Writes complete events, in order of position, with their index entries. */
extern void es_writer_insert(EsWriter *writer, EsEvent *events, int count);

/* Closes what is open; the writer can be used on. */
extern void es_writer_close(EsWriter *writer);

#endif							/* ES_LOG_WRITER_H */
