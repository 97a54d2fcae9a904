-- Lists of the lifecycle of leads, each told once: schemas of events, the state
-- machine, projections and views are made of them.  Their bodies are parsed when they are
-- made and they set nothing, so that queries take them in.

CREATE FUNCTION crm.lead_states() RETURNS TABLE (state text, display_order integer, description text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
	VALUES
		('NEW', 1, 'An inquiry arrived, nobody has tried to reach them yet'),
		('CONTACTING', 2, 'First outreach made, waiting for an answer'),
		('QUALIFIED', 3, 'Motivated: searching and touring'),
		('COMMITTED', 4, 'Buyer''s agreement signed'),
		('IN_CONTRACT', 5, 'An offer was accepted'),
		('CLOSED', 6, 'Funded; a repeat deal is a new lead'),
		('ARCHIVED', 7, 'Went quiet; may come back'),
		('TRASHED', 8, 'Bad contact data; may be put right');
	END;
COMMENT ON FUNCTION crm.lead_states() IS 'The states of a lead, in the order of the board, and what they mean.';

-- A deal fell through: two events, each in one state.
CREATE FUNCTION crm.lead_collapse_events() RETURNS TABLE (event_type text, state text, stage text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
	VALUES
		('deal_collapsed', 'COMMITTED', 'before_contract'),
		('contract_voided', 'IN_CONTRACT', 'after_contract');
	END;
COMMENT ON FUNCTION crm.lead_collapse_events() IS
	'Private: the events that say that a deal fell through, with the state that each ends, and what reports call it.';

CREATE FUNCTION crm.lead_reason_events() RETURNS TABLE (event_type text, is_required boolean, display_order integer)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
	VALUES
		('deal_collapsed', true, 1),
		('contract_voided', true, 2),
		('bogus_contact_detected', true, 3),
		('lead_assigned', false, 4),
		('contact_attempted', false, 5),
		('flag_set', false, 6),
		('flag_cleared', false, 7);
	END;
COMMENT ON FUNCTION crm.lead_reason_events() IS 'Private: the events of leads that take certain reason codes, and whether they need one.';

CREATE FUNCTION crm.lead_reason_defaults() RETURNS TABLE (code text, category text, label text, phrase text, event_types text[])
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
	VALUES
		('financing', 'financing', 'Financing fell through', 'financing fell through', '{deal_collapsed,contract_voided}'::text[]),
		('appraisal', 'financing', 'Appraised below the price', 'it appraised below the price', '{deal_collapsed,contract_voided}'),
		('inspection', 'inspection', 'The inspection killed it', 'of the inspection', '{deal_collapsed,contract_voided}'),
		('title_defect', 'inspection', 'The title is not clear', 'the title is not clear', '{contract_voided}'),
		('buyer_disappeared', 'buyer', 'The buyer disappeared', 'the buyer disappeared', '{deal_collapsed,contract_voided}'),
		('changed_mind', 'buyer', 'The buyer changed their mind', 'the buyer changed their mind', '{deal_collapsed,contract_voided}'),
		('seller_withdrew', 'seller', 'The seller withdrew', 'the seller withdrew', '{deal_collapsed,contract_voided}'),
		('mutual_release', 'agreement', 'Both sides agreed to part', 'both sides agreed to part', '{contract_voided}'),
		('wrong_number', 'bogus', 'Wrong number or address', 'the number is wrong', '{bogus_contact_detected}'),
		('fake_identity', 'bogus', 'Nobody of that name', 'there is nobody of that name', '{bogus_contact_detected}'),
		('duplicate', 'bogus', 'The lead is there already', 'the lead is there already', '{bogus_contact_detected}'),
		('spam', 'bogus', 'Spam', 'it is spam', '{bogus_contact_detected}'),
		('schedule_conflict', 'staffing', 'The agent has no time', 'of the schedule conflict', '{lead_assigned}'),
		('pto', 'staffing', 'The agent is away', 'of PTO', '{lead_assigned}'),
		('left_company', 'staffing', 'The agent left', 'the agent left', '{lead_assigned}'),
		('workload', 'staffing', 'Work was shared out anew', 'of the workload', '{lead_assigned}'),
		('client_asked', 'client', 'The client asked for it', 'the client asked for it', '{lead_assigned,contact_attempted,flag_set,flag_cleared}'),
		('active_transaction', 'client', 'A transaction is under way', 'a transaction is under way', '{contact_attempted}'),
		('legal_duty', 'law', 'The law wants it', 'the law wants it', '{contact_attempted,flag_set,flag_cleared}'),
		('data_error', 'data', 'What was recorded is wrong', 'what was recorded is wrong', '{flag_set,flag_cleared}');
	END;
COMMENT ON FUNCTION crm.lead_reason_defaults() IS
	'Private: the reason codes of leads unless define_lead_reason() and retire_lead_reason() have changed them; event_types: which events take them.';

CREATE FUNCTION crm.lead_channels() RETURNS TABLE (channel text, display_order integer)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
	VALUES ('phone', 1), ('email', 2), ('text', 3), ('in_person', 4), ('other', 5);
	END;
COMMENT ON FUNCTION crm.lead_channels() IS 'Private: the ways to reach a lead.';

CREATE FUNCTION crm.lead_flag_rules() RETURNS TABLE (flag text, forbids text[], display_order integer)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
	SELECT 'unsubscribed', '{email,text}'::text[], 1
	 UNION ALL SELECT 'dnc', array_agg(c.channel ORDER BY c.display_order), 2 FROM crm.lead_channels() c
	 UNION ALL SELECT 'do_not_email', '{email}', 3
	 UNION ALL SELECT 'do_not_text', '{text}', 4
	 UNION ALL SELECT 'do_not_call', '{phone}', 5;
	END;
COMMENT ON FUNCTION crm.lead_flag_rules() IS 'Private: the flags of leads, and the channels that each forbids.';

CREATE FUNCTION crm.lead_signals() RETURNS TABLE (signal text, points integer, display_order integer)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
	VALUES
		('tour_requested', 40, 1),
		('pre_approval_uploaded', 40, 2),
		('favorite_saved', 10, 3),
		('replied', 30, 4),
		('session_returned', 10, 5),
		('search_saved', 10, 6),
		('property_viewed', 5, 7);
	END;
COMMENT ON FUNCTION crm.lead_signals() IS
	'Private: what a lead can do that shows interest, with the points unless setting signal_<name> says otherwise.';
