-- At what a unit came in of what is not money, where something that is traded was booked without a trade.
ALTER TABLE adjustments ADD COLUMN unit_cost numeric;
