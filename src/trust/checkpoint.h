/*
 * checkpoint.h
 *		Checkpoints: how large the log's tree is, and its root, as text.
 */
#ifndef ES_TRUST_CHECKPOINT_H
#define ES_TRUST_CHECKPOINT_H

#include "eventsource.h"

/* The body of a signed note, in the form of C2SP's tlog-checkpoint. */
extern text *es_checkpoint_form(int64 size, const uint8 *root);

/*
 * Reads one, signatures or not; an error if it is none, or one of another log.
 */
extern void es_checkpoint_parse(const text *checkpoint, int64 *size, uint8 *root);

#endif							/* ES_TRUST_CHECKPOINT_H */
