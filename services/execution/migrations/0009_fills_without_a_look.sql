-- Fills are written with their order, and taken away with it: to look that up for each of them cost as much as the row.
-- squawk-ignore ban-drop-constraint
ALTER TABLE fills DROP CONSTRAINT fills_venue_order_ref_fkey;
