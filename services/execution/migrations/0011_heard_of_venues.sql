-- When a venue last said anything of itself: one that has fallen silent is away.
ALTER TABLE venues ADD COLUMN heard_at timestamptz NOT NULL DEFAULT now();
