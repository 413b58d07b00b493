CREATE TABLE sketches (sketch_id bigint PRIMARY KEY);
