-- When the question that is open was put: a venue that turns page after page answers, however long that takes.
ALTER TABLE reconciliations ADD COLUMN page_asked_at timestamptz NOT NULL DEFAULT now();
