-- Fills are written with their order, and never taken away: to look that up for each of them cost as much as the row.
-- squawk-ignore ban-drop-constraint
ALTER TABLE venue_fills DROP CONSTRAINT venue_fills_venue_order_ref_fkey;
