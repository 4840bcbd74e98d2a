"""The outbox: mails as files, whose directory is their state."""
