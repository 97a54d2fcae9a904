/*
 * delivery.h
 *		One job, from the claim to the record of what became of it.
 */
#ifndef RELAY_DELIVERY_H
#define RELAY_DELIVERY_H

#include <curl/curl.h>
#include <stdatomic.h>

#include "text.h"

#define MAX_HEADERS		16

typedef enum DeliveryState
{
	DELIVERY_NONE,				/* the slot is free */
	DELIVERY_UNREAD,			/* claimed, no more: the payload is with the
								 * database */
	DELIVERY_SENDING,			/* its thread has it */
	DELIVERY_UNRECORDED,		/* the outcome is known, the database has not
								 * taken it yet */
} DeliveryState;

/* How far a mail has come, by what was said to the server last. */
typedef enum MailStage
{
	MAIL_CONNECTION,
	MAIL_SENDER,
	MAIL_RECIPIENT,
	MAIL_CONTENT,
} MailStage;

typedef struct Header
{
	char	   *name;
	char	   *value;
} Header;

/*
 * While it is DELIVERY_SENDING everything belongs to its thread but state,
 * is_aborted and what is below "the main thread's".
 */
typedef struct Delivery
{
	DeliveryState state;
	atomic_bool is_aborted;

	/* The job.  What its payload does not have is NULL. */
	char		job_id[24];
	char		attempt[16];
	char		event_position[24]; /* of the event that caused it, or empty */
	char		id[80];			/* for the receiver; the same in each attempt */
	const char *problem;		/* why it cannot be sent, or was not taken; in
								 * words of ours or libcurl's that quote
								 * nothing */
	char	   *url;
	char	   *body;
	char	   *to;
	char	   *subject;
	char	   *text;
	char	   *from;
	char	   *skip;			/* why it is not to be sent, or NULL */
	Header		headers[MAX_HEADERS];
	int			header_count;

	/* The transfer. */
	CURL	   *curl;			/* kept for the slot's next delivery */
	char		curl_error[CURL_ERROR_SIZE];
	Text		target;			/* scheme, host and port */
	Text		content;		/* what is sent */
	size_t		content_sent;
	size_t		received;
	bool		is_address_refused;
	MailStage	stage;

	/*
	 * The outcome.  error_code is NULL if it was delivered, status 0 if no
	 * answer tells of it.
	 */
	const char *error_code;
	long		status;
	Text		message;
	Text		details;
	int64_t		retry_after;	/* ms, -1 if the receiver said nothing */

	/* The main thread's. */
	int64_t		heartbeat_at;
	int64_t		record_at;
	int			record_failures;
	int			record_refusals;
	int			lost_reads;
} Delivery;

/* Makes the slots, as many as deliveries may be under way, all free. */
extern void delivery_begin(void);

extern int	delivery_count(DeliveryState state);
extern Delivery *delivery_slot(int number);

/* A free slot, or NULL. */
extern Delivery *delivery_take_slot(void);

/*
 * Sends it, in a thread of its own.  When that is done its address comes out of
 * delivery_pipe(), and delivery_end_sending() makes it DELIVERY_UNRECORDED.  What
 * cannot be sent is so at once.
 */
extern void delivery_start(Delivery *d);
extern int	delivery_pipe(void);
extern void delivery_end_sending(void);

/* Sends nothing, and makes it DELIVERY_UNRECORDED: skipped, or failed if it has an error code. */
extern void delivery_end_unsent(Delivery *d);

/* Frees the slot. */
extern void delivery_forget(Delivery *d);

#endif							/* RELAY_DELIVERY_H */
