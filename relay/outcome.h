/*
 * outcome.h
 *		Which error code of the database an answer is.
 */
#ifndef RELAY_OUTCOME_H
#define RELAY_OUTCOME_H

#include "delivery.h"

/* NULL: it was delivered.  status is 0 if there was no answer. */
extern const char *outcome_of_webhook(CURLcode result, long status);
extern const char *outcome_of_mail(CURLcode result, long status, MailStage stage);

#endif							/* RELAY_OUTCOME_H */
