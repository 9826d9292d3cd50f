"""Cloud Storage: buckets with retention, objects, and what becomes of deleted ones."""
