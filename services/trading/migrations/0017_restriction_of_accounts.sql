-- Why an account may only reduce, and since when: {code, detail, at}. Empty where it is not restricted, or was before this.
ALTER TABLE accounts ADD COLUMN restriction jsonb;
