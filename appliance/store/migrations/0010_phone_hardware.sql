-- The hardware revision of a phone, as it writes it itself: images differ by it.
ALTER TABLE phones ADD COLUMN hardware TEXT NOT NULL DEFAULT '';
