\set s random(:low, :high)
UPDATE bench.audit_lead SET status = CASE status WHEN 'A' THEN 'B' WHEN 'B' THEN 'C' ELSE 'A' END, score = score + 1,
	updated_at = now() WHERE id = :s;
